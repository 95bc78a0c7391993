import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCommand } from '../../support/command.ts';
import { startImpostor } from '../../support/impostor.ts';
import { rotationOf } from '../../support/mesh.ts';
import { startTestServer } from '../../support/server.ts';

test('a command from afar talks to the CA alone, and to no CA downstream that poses as it', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startTestServer());
  const impostor = stack.use(await startImpostor(server));
  const dir = await mkdtemp(join(tmpdir(), 'meshca-cli-impostor-'));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const admin = ['mint', '--admin', '--spiffe-id', 'spiffe://mesh.test/admin', '--write', dir];
  assert.equal((await runCommand(server, admin)).code, 0);
  const access = ['--cert', 'svid.pem', '--key', 'key.pem', '--bundle', 'bundle.pem'].map((each) =>
    each.startsWith('--') ? each : join(dir, each),
  );
  const status = async (address: string, ...more: readonly string[]): Promise<string> => {
    const { err } = await runCommand(server, ['--server', address, ...access, ...more, 'status']);
    return /error ([A-Z_]+)/.exec(err)?.[1] ?? err;
  };
  const real = (): string => `127.0.0.1:${server.server.port}`;
  const known = '--issuer-fingerprint';
  assert.equal(await status(real()), 'ROLE_MISSING');
  assert.equal(await status(impostor.address), 'RESERVED_ID_UNTRUSTED');
  // nothing else keeps the command from it: named by a person, it is asked
  assert.equal(
    await status(impostor.address, known, impostor.issuerFingerprint),
    'NOT_IMPLEMENTED',
  );
  assert.equal(await status(real(), known, impostor.issuerFingerprint), 'RESERVED_ID_UNTRUSTED');
  assert.equal(await status(real(), known, 'abc'), 'INVALID_REQUEST');

  // the certificate of the admin is from the authority before
  await rotationOf(server).rotate('issuing');
  await server.restart();
  assert.equal(await status(real()), 'ROLE_MISSING');
  assert.equal(await status(impostor.address), 'RESERVED_ID_UNTRUSTED');
});
