import assert from 'node:assert/strict';
import { test } from 'node:test';
import { distantAdmin, talkToTheServerAlone } from '../../support/distant-callers.ts';
import { startImpostor } from '../../support/impostor.ts';
import { startTestServer } from '../../support/server.ts';

test('commands from afar and workloads take no CA downstream for the server', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(
    await startTestServer({
      config: { issuance: { bundleRefreshHintSeconds: 1 }, rotation: { automatic: false } },
    }),
  );
  const impostor = stack.use(await startImpostor(server));
  const certifyServer = (): Promise<void> => Promise.resolve();
  await talkToTheServerAlone(server, [impostor], { marked: true, certifyServer });
});

test('a command believes the fingerprint that a person gave, and refuses what is none', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startTestServer());
  const impostor = stack.use(await startImpostor(server));
  const admin = stack.use(await distantAdmin(server));
  const real = `127.0.0.1:${server.server.port}`;
  const ask = (fingerprint: string) => admin.ask(real, '--issuer-fingerprint', fingerprint);
  assert.equal(await ask(impostor.issuerFingerprint), 'RESERVED_ID_UNTRUSTED');
  assert.equal(await ask('abc'), 'INVALID_REQUEST');
});
