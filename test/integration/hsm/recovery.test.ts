import assert from 'node:assert/strict';
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import graphene from 'graphene-pk11';

import { PkiError } from '../../../src/common/errors/index.ts';
import {
  createSigners,
  openTokenAdmin,
  type KeyHandle,
  type SignItem,
} from '../../../src/hsm/index.ts';
import { SignerCore, SignerLost } from '../../../src/hsm/signer-core.ts';
import { adminOptions, hsmFixture, signersDefaults, type HsmFixture } from '../../support/hsm.ts';

/**
 * The core of a signer runs in this process here, so that the test reaches the sessions under it.
 */
describe('the recovery inside one signer', () => {
  let fixture: HsmFixture;
  let key: KeyHandle;
  let core: SignerCore | undefined;
  before(async () => {
    fixture = await hsmFixture();
    key = await fixture.makeKey('ec-p256');
    process.env['SOFTHSM2_CONF'] = fixture.tokens.environment.SOFTHSM2_CONF;
  });
  after(() => fixture[Symbol.asyncDispose]());

  async function open(mode: 'sync' | 'async'): Promise<SignerCore> {
    core?.close();
    core = new SignerCore(fixture.token, {
      mode,
      sessions: 4,
      monotonicMs: () => performance.now(),
      cpuMs: () => 0,
      crowdedMs: () => 0,
    });
    await core.useKey(key);
    return core;
  }

  const items = (count: number, ckaId = key.ckaId): SignItem[] =>
    Array.from({ length: count }, () => ({ ckaId, bytes: randomBytes(200), format: 'x509' }));

  async function signsWell(signer: SignerCore): Promise<void> {
    const asked = items(30);
    const outcomes = await signer.sign(asked);
    const publicKey = createPublicKey({ key: key.spkiDer, format: 'der', type: 'spki' });
    asked.forEach(({ bytes }, index) => {
      const outcome = outcomes[index];
      assert.ok(outcome?.ok === true && verify('sha256', bytes, publicKey, outcome.signature));
    });
  }

  for (const mode of ['sync', 'async'] as const) {
    it(`reopens sessions that the token dropped, and fails no item (${mode})`, async () => {
      const signer = await open(mode);
      for (let round = 0; round < 3; round++) {
        assert.equal(closeSessionsButFirst(fixture), mode === 'sync' ? 1 : 4);
        if (round === 1) await signer.probe();
        await signsWell(signer);
      }
    });
  }

  it('is lost when the login has ended with the last session: the PIN comes from the parent only', async () => {
    const signer = await open('sync');
    signer.invalidateSessions();
    await assert.rejects(
      signer.sign(items(3)),
      (thrown) => thrown instanceof SignerLost && thrown.error.code === 'HSM_UNAVAILABLE',
    );
  });

  it('is lost by a probe too', async () => {
    const signer = await open('async');
    signer.invalidateSessions();
    await assert.rejects(signer.probe(), (thrown) => thrown instanceof SignerLost);
  });

  it('never signs with another key that took the CKA_ID of a recorded one', async () => {
    const swapped = await fixture.makeKey('ec-p256');
    const signer = await open('sync');
    await signer.useKey(swapped);
    await using admin = await openTokenAdmin(fixture.token, adminOptions);
    await admin.destroyKey(swapped.ckaId);
    await admin.generateKey({
      ckaId: swapped.ckaId,
      label: 'meshca/test/swapped',
      keyType: 'ec-p256',
    });
    await assert.rejects(
      signer.sign(items(2, swapped.ckaId)),
      (thrown) => thrown instanceof SignerLost && thrown.error.code === 'HSM_SIGNATURE_INVALID',
    );
    core?.close();
    core = undefined;
  });

  it('reports a Node binary that can not be started', async () => {
    const execPath = '/nowhere/node';
    const unavailable = (thrown: unknown): boolean =>
      thrown instanceof PkiError && thrown.code === 'HSM_UNAVAILABLE';
    await assert.rejects(
      createSigners({ ...signersDefaults, token: fixture.token, execPath }),
      unavailable,
    );
    await assert.rejects(openTokenAdmin(fixture.token, { ...adminOptions, execPath }), unavailable);
  });
});

/**
 * Closes every session of this process in the token except the oldest, which is the anchor. Returns
 * how many.
 */
function closeSessionsButFirst({ tokens }: HsmFixture): number {
  const { lib } = graphene.Module.load(tokens.modulePath);
  const open: Buffer[] = [];
  for (let handle = 1; handle < 500; handle++) {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt32LE(handle);
    try {
      lib.C_GetSessionInfo(bytes);
      open.push(bytes);
    } catch {
      // Not a session.
    }
  }
  for (const session of open.slice(1)) lib.C_CloseSession(session);
  return open.length - 1;
}
