import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SocketCertificate } from '../../../../../sidecar/apis/istio/index.ts';
import type { Attestor } from '../../../../../sidecar/attest/index.ts';
import { PkiError } from '../../../../../src/common/errors/index.ts';
import { silentLogger, type Logger } from '../../../../../src/common/runtime/index.ts';
import { SpiffeId } from '../../../../../src/common/spiffe/index.ts';
import { entryOf, FakeEntries, FakeSvids } from '../../../../support/local-server-fakes.ts';
import { nextTurn } from '../../../../support/until.ts';

const td = 'spiffe://mesh.test';

test('who else has the name of the socket is told once, until those entries change', async () => {
  const entries = new FakeEntries();
  const told: unknown[] = [];
  const logger: Logger = {
    ...silentLogger,
    warn: (fields) => {
      const named = (fields as Record<string, unknown>)['entries'];
      if (named !== undefined) told.push(named);
    },
  };
  const nobody = {
    open: () => {
      throw new PkiError('NO_IDENTITY', 'the process is gone');
    },
  } as unknown as Attestor;
  using _ = new SocketCertificate({
    attestor: nobody,
    entries,
    svids: new FakeSvids(),
    spiffeId: SpiffeId.of(`${td}/socket`),
    dnsName: 'unix',
    pid: 1,
    logger,
  });
  const own = entryOf('own', `${td}/socket`, ['unix:uid:1'], { dnsNames: ['unix'] });
  const web = entryOf('web', `${td}/web`, ['unix:uid:2'], { dnsNames: ['web.test'] });
  const sets = [
    [own, web],
    [own, { ...web, dnsNames: ['web.test', 'UNIX'] }],
    [own, { ...web, dnsNames: ['unix'] }],
    [own],
    [{ ...web, dnsNames: ['unix'] }],
  ];
  for (const set of sets) {
    entries.set(...set);
    await nextTurn();
  }
  assert.deepEqual(told, [['web'], ['web']]);
});
