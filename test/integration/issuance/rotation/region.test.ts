import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { CliContext } from '../../../../src/cli/context.ts';
import { runCli } from '../../../../src/cli/program.ts';
import { certificatesToPem } from '../../../../src/common/x509/index.ts';
import { codeOf, startTestServer, type TestServer } from '../../../support/server.ts';
import { until } from '../../../support/until.ts';

const issuing = async (server: TestServer) =>
  (await server.admin('Authorities/ListAuthorities')).authorities.filter(
    ({ kind, state }) => kind === 'issuing' && state === 'active',
  );
const idle = async (server: TestServer): Promise<boolean> =>
  (await server.admin('Authorities/GetRotationStatus')).operations.length === 0;
const scopes = async (server: TestServer): Promise<readonly string[]> =>
  (await issuing(server)).map(({ scopeJson }) => scopeJson).sort();
const rotate = async (server: TestServer, more: object): Promise<string> =>
  (await server.admin('Authorities/RotateAuthorities', { kind: 'issuing', ...more })).operations[0]!
    .successorId;

/**
 * Who signs on this server, by the certificate in the chain; OpenSSL verifies the chain under the
 * roots of the bundle.
 */
async function signer(context: TestContext, server: TestServer): Promise<string> {
  const { chainDer } = await server.mint('spiffe://mesh.test/workload');
  const dir = mkdtempSync(join(tmpdir(), 'meshca-region-'));
  context.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name: string, ders: readonly Buffer[]): string => {
    writeFileSync(join(dir, name), certificatesToPem(ders));
    return join(dir, name);
  };
  const roots = file('roots.pem', (await server.admin('Authorities/GetBundle')).rootsDer);
  assert.match(
    execFileSync(
      'openssl',
      [
        'verify',
        '-x509_strict',
        '-CAfile',
        roots,
        '-untrusted',
        file('chain.pem', chainDer.slice(1)),
        file('leaf.pem', chainDer.slice(0, 1)),
      ],
      { encoding: 'utf8' },
    ),
    /OK/,
  );
  return (await issuing(server)).find(({ certificateDer }) => certificateDer.equals(chainDer[1]!))!
    .id;
}

test('an intermediate of a region signs only there, is replaced within its region, and follows a new root', async (context) => {
  const server = await startTestServer();
  context.after(() => server[Symbol.asyncDispose]());
  const [everywhere] = await issuing(server);
  const refused = (more: object): Promise<string> =>
    codeOf(server.admin('Authorities/RotateAuthorities', { kind: 'issuing', ...more }));
  assert.equal(await refused({ kind: 'root', region: 'eu' }), 'INVALID_REQUEST');
  assert.equal(await refused({ region: 'e u' }), 'INVALID_REQUEST');
  assert.equal(
    await refused({ region: 'eu', canary: { steps: [{ share: 0.1 }] } }),
    'INVALID_REQUEST',
  );

  const first = await rotate(server, { region: 'eu' });
  await until(() => idle(server));
  const both = await issuing(server);
  assert.deepEqual(
    both.map(({ id, parentId, scopeJson }) => [id, parentId, scopeJson]),
    [
      [everywhere!.id, everywhere!.parentId, '{}'],
      [first, everywhere!.parentId, '{"region":"eu"}'],
    ],
  );
  assert.equal(await signer(context, server), everywhere!.id);
  await server.stop();

  await using there = await startTestServer({
    tokens: server.tokens,
    dir: server.dir,
    config: { authorities: { region: 'eu' } },
  });
  assert.equal(await signer(context, there), first);
  // one for a replica of that region takes nobody's place, and signs on that replica alone
  await rotate(there, { region: 'eu', replica: 'a' });
  await until(() => idle(there));
  assert.equal(await signer(context, there), first);
  // the next of the region takes the place of the one before, and of no other
  const second = await rotate(there, { region: 'eu' });
  await until(() => idle(there));
  assert.equal(await signer(context, there), second);
  assert.equal((await there.admin('Authorities/GetAuthority', { id: first })).state, 'old');
  assert.deepEqual(await scopes(there), ['{"region":"eu"}', '{"replica":"a","region":"eu"}', '{}']);
  // a new root: each is replaced under its own scope
  await there.admin('Authorities/RotateAuthorities', {
    kind: 'root',
    force: true,
    reason: 'nobody reads the bundle here',
  });
  await until(async () => {
    const root = (await there.admin('Authorities/ListAuthorities')).authorities.findLast(
      ({ kind, state }) => kind === 'root' && state === 'active',
    );
    return (
      root!.id !== everywhere!.parentId &&
      (await issuing(there)).every(({ parentId }) => parentId === root!.id) &&
      idle(there)
    );
  });
  assert.deepEqual(await scopes(there), ['{"region":"eu"}', '{"replica":"a","region":"eu"}', '{}']);
  assert.notEqual(await signer(context, there), second);
});

test('--region needs --kind issuing, and a taint of the last general issuer cancels a regional one', async (context) => {
  const server = await startTestServer();
  context.after(() => server[Symbol.asyncDispose]());
  const cli = async (
    ...args: readonly string[]
  ): Promise<{ readonly code: number; readonly out: string; readonly err: string }> => {
    let out = '';
    let err = '';
    const code = await runCli(
      ['--server-socket', server.server.adminSocketPath, 'authority', ...args],
      {
        env: {},
        out: (text) => void (out += text),
        err: (text) => void (err += text),
        readStdin: async () => '',
        ask: async () => undefined,
        terminal: { isTerminal: false, columns: 140, color: false },
        signal: new AbortController().signal,
        now: () => Math.floor(Date.now() / 1000),
        dependencies: {} as CliContext['dependencies'],
      },
    );
    return { code, out, err };
  };
  assert.match((await cli('rotate', '--region', 'eu')).err, /INVALID_REQUEST/);
  assert.match(
    (await cli('rotate', '--kind', 'issuing', '--kind', 'jwt', '--region', 'eu')).err,
    /INVALID_REQUEST/,
  );
  assert.equal((await cli('rotate', '--kind', 'issuing', '--region', 'eu')).code, 0);
  assert.deepEqual(await scopes(server), ['{"region":"eu"}', '{}']);
  assert.match((await cli('status')).out, /signs for region eu/);

  const everywhere = (await issuing(server)).find(({ scopeJson }) => scopeJson === '{}');
  const made = await cli('prepare', '--region', 'us');
  assert.equal(made.code, 0);
  const { successorId } = (await server.admin('Authorities/GetRotationStatus')).operations[0]!;
  await server.admin('Authorities/TaintAuthority', { id: everywhere!.id, reason: 'drill' });
  await until(
    async () =>
      (await server.admin('Authorities/GetAuthority', { id: everywhere!.id })).state !== 'active' &&
      idle(server),
  );
  assert.equal(
    (await server.admin('Authorities/GetAuthority', { id: successorId })).state,
    'discarded',
  );
  assert.deepEqual(await scopes(server), ['{"region":"eu"}', '{}']);
  assert.ok(![everywhere!.id, undefined].includes(await signer(context, server)));
});
