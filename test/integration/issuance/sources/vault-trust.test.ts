import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, systemClock } from '../../../../src/common/runtime/index.ts';
import { certificatesToPem, pemEncode } from '../../../../src/common/x509/index.ts';
import { VaultSession } from '../../../../src/issuance/index.ts';
import { createRoot, createSvid, type TestAuthority } from '../../../support/test-pki.ts';

const pemOf = ({ certificateDer }: TestAuthority): string => certificatesToPem([certificateDer]);

test('other CAs count from the next request to Vault on', async (context) => {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-vault-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const token = join(directory, 'token');
  writeFileSync(token, 'token');
  const [before, after] = [createRoot('before.test'), createRoot('after.test')];
  const shown = createSvid(after, 'spiffe://after.test/vault', { dnsSans: ['localhost'] });
  const server = createServer(
    { cert: certificatesToPem(shown.chainDer), key: pemEncode('PRIVATE KEY', shown.keyDer) },
    (_request, response) =>
      response.end(JSON.stringify({ data: { ttl: 0, data: { pin: '1234' } } })),
  );
  server.listen(0, 'localhost');
  await once(server, 'listening');
  context.after(() => server.close());
  const session = await VaultSession.open({
    address: `https://localhost:${(server.address() as AddressInfo).port}`,
    auth: { method: 'token', file: token },
    caPem: pemOf(before),
    timeoutMs: 30_000,
    clock: systemClock,
    logger: silentLogger,
  });
  const secret = (): Promise<string> =>
    session.secret({ mount: 'secret', path: 'pins', field: 'pin' });
  await assert.rejects(secret(), { code: 'UPSTREAM_UNAVAILABLE' });
  session.trust(pemOf(after));
  assert.equal(await secret(), '1234');
  assert.equal(session.caPem, pemOf(after));
  session.close();
});
