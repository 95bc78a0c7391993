import assert from 'node:assert/strict';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { silentLogger, systemClock, systemRandom } from '../../../../src/common/runtime/index.ts';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { openTokenAdmin } from '../../../../src/hsm/index.ts';
import { AcmeMacKey } from '../../../../src/services/acme/mac-key.ts';
import { adminOptions, hsmFixture } from '../../../support/hsm.ts';
import { openStore } from '../../../support/open-store.ts';

test('the key of ACME is made once, found again, and never made again where it is missing', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'meshca-mac-'));
  await using fixture = await hsmFixture();
  const store = await openStore({
    path: join(folder.path, 'meshca.db'),
    pid: process.pid,
    clock: systemClock,
    logger: silentLogger,
  });
  let token = fixture.token;
  let fails: 'before' | 'after' | undefined;
  /** A server of its own, with its signers. */
  const start = async () =>
    new AcmeMacKey({
      ...{
        trustDomain: 'example.org',
        store,
        signers: await fixture.signers({ token, processes: 1 }),
      },
      ...{ clock: systemClock, random: systemRandom, logger: silentLogger },
      openToken: async () => {
        if (fails === 'before') throw new PkiError('HSM_UNAVAILABLE', 'away');
        const admin = await openTokenAdmin(token, adminOptions);
        if (fails !== 'after') return admin;
        return {
          ...admin,
          findMacKey: (ckaId) => admin.findMacKey(ckaId),
          close: () => admin.close(),
          generateMacKey: async (key) => {
            await admin.generateMacKey(key);
            throw new PkiError('HSM_UNAVAILABLE', 'killed');
          },
        } as typeof admin;
      },
    });
  const input = Buffer.from('meshca test');
  try {
    const first = await start();
    fails = 'before';
    await assert.rejects(first.mac(input), { code: 'HSM_UNAVAILABLE' });
    fails = 'after';
    await assert.rejects(first.mac(input), { code: 'HSM_UNAVAILABLE' });
    fails = undefined;
    const second = await start();
    const both = await Promise.allSettled([first.mac(input), second.mac(input)]);
    assert.ok(both.some(({ status }) => status === 'fulfilled'));
    const macs = await Promise.all([first.mac(input), second.mac(input)]);
    assert.deepEqual(macs[0], macs[1], 'one key, after two failures');
    assert.deepEqual(await (await start()).mac(input), macs[0], 'found again');
    const { items } = await store.audit.list({ subject: 'acme' }, { size: 10 });
    assert.deepEqual(
      items.map(({ kind }) => kind),
      ['mac-key.requested', 'mac-key.made'],
    );

    const { label, pin } = fixture.tokens.tokens.root;
    token = { ...fixture.token, tokenLabel: label, pin };
    const wrongToken = await start();
    await assert.rejects(wrongToken.mac(input), (thrown) => {
      assert.ok(thrown instanceof PkiError && thrown.code === 'HSM_KEY_NOT_FOUND');
      assert.match(thrown.message, /^ACME stays closed: its secret key \w+ is on record/);
      assert.match(thrown.next, /restore it from its backup/);
      return true;
    });
    await using admin = await openTokenAdmin(token, adminOptions);
    assert.equal(await admin.findMacKey(ckaIdOf(items[1]?.canonical)), undefined, 'none was made');
    token = fixture.token;
    assert.deepEqual(await (await start()).mac(input), macs[0], 'with its token it goes on');
  } finally {
    await store.close();
  }
});

const ckaIdOf = (canonical: Buffer | undefined): string =>
  /"ckaId":"([0-9a-f]{32})"/.exec(canonical?.toString('utf8') ?? '')?.[1] ?? '';
