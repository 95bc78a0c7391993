import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../../support/server.ts';
import { createTokens } from '../../support/softhsm.ts';
import { until } from '../../support/until.ts';

test('a server with an unused standby token starts again with its checkpoint file in place', async () => {
  await using second = await createTokens({ labels: { issuing: 'meshca-standby' } });
  const { label, pinFile } = second.tokens.issuing;
  await using server = await startTestServer({
    config: { hsm: { standby: { softhsmConf: second.confPath, label, pinFile, signers: 1 } } },
  });
  await until(async () => {
    const { authorities } = await server.admin('Authorities/ListAuthorities');
    return authorities.some(
      ({ kind, token, state }: { kind: string; token: string; state: string }) =>
        kind === 'log' && token === 'standby' && state === 'published',
    );
  }, 'a key of the log stands by');
  for (let again = 0; again < 2; again += 1) {
    await server.restart();
    assert.equal((await server.admin('Server/GetStatus')).ready, true);
  }
});
