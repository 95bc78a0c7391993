import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { sha256Hex, verifyX509Svid } from '../../../../src/common/x509/index.ts';
import type { CliContext } from '../../../../src/cli/context.ts';
import { runCli } from '../../../../src/cli/program.ts';
import { authorizeId, connectTls, X509Source } from '../../../../src/workload/index.ts';
import { startAgent } from '../../../../sidecar/compose.ts';
import { agentEnvironment } from '../../../support/agent-environment.ts';
import { agentConfigSchema } from '../../../../sidecar/config.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../../../support/server.ts';
import { until } from '../../../support/until.ts';

/** One command line, its exit code and what it printed. */
async function meshca(
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  let [out, err] = ['', ''];
  const context: CliContext = {
    env: {},
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    readStdin: () => Promise.resolve(''),
    ask: async () => undefined,
    terminal: { isTerminal: false, columns: 140, color: false },
    signal: new AbortController().signal,
    now: () => Math.floor(Date.now() / 1000),
    dependencies: {} as CliContext['dependencies'],
  };
  const code = await runCli(args, context);
  return { code, out, err };
}

test('a nested server gets its intermediate with the SVID of its process, and hands out complete CRLs', async (context) => {
  await using stack = new AsyncDisposableStack();
  const upper = stack.use(await startTestServer());
  const dir = await mkdtemp(join(tmpdir(), 'meshca-nested-'));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const file = (name: string): string => join(dir, name);
  const { token, agentId } = await upper.admin('Tokens/CreateJoinToken', { agentName: 'node' });
  const config = agentConfigSchema.parse({
    trustDomain: testTrustDomain,
    serverAddress: `127.0.0.1:${upper.server.port}`,
    dataDir: file('d'),
    bootstrap: { rootFingerprint: sha256Hex(upper.rootsDer[0] as Buffer) },
    attestation: { joinToken: { token } },
    workloadApi: { socketPath: file('w') },
    localApi: { socketPath: file('l') },
    ops: { port: 0 },
    connection: { backoffBaseMs: 50, backoffCapMs: 200 },
  });
  const agent = stack.use(await startAgent(agentEnvironment(config)));
  await until(() => agent.status().synced === true);
  const request = (...args: readonly string[]) =>
    meshca(
      'downstream',
      'request',
      '--server',
      `127.0.0.1:${upper.server.port}`,
      '--socket',
      file('w'),
      ...args,
    );
  const entry = {
    spiffeId: 'spiffe://mesh.test/nested',
    parentId: agentId,
    selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
  };
  const { results } = await upper.admin('Entries/CreateEntries', { entries: [entry] });
  await until(() => agent.status().entries === 1);

  await context.test(
    'without the flag it is refused with the code, and leaves no file',
    async () => {
      const refused = await request('--key-out', file('ca.key'), '--out', file('ca.pem'));
      assert.equal(refused.code, 4);
      assert.match(refused.err, /DOWNSTREAM_NOT_ALLOWED/);
      await assert.rejects(stat(file('ca.key')));
      await assert.rejects(stat(file('ca.pem')));
    },
  );

  await upper.admin('Entries/UpdateEntry', {
    entry: { ...entry, id: results[0]!.entry!.id, downstream: true },
  });

  await context.test('a key and a certificate for a CA of another make', async () => {
    const made = await request(
      '--key-out',
      file('ca.key'),
      '--out',
      file('ca.pem'),
      '--ttl',
      '24h',
    );
    assert.equal(made.code, 0, made.err);
    assert.equal((await stat(file('ca.key'))).mode & 0o777, 0o600);
    assert.equal((await readFile(file('ca.pem'), 'utf8')).match(/BEGIN CERTIFICATE/g)?.length, 2);
    const again = await request('--key-out', file('ca.key'), '--out', file('ca.pem'));
    assert.match(again.err, /ALREADY_EXISTS/);
  });

  await context.test(
    'a server of ours below: its key in its token, its leaves good under the root above alone',
    async () => {
      const lower = stack.use(
        await startTestServer({ config: { authorities: { source: 'external' } } }),
      );
      const local = (...args: readonly string[]) =>
        meshca('--server-socket', lower.server.adminSocketPath, ...args);
      const csr = await local('authority', 'csr', '--out', file('lower.csr'));
      const id = /authority (\S+)/.exec(csr.err)?.[1] as string;
      const asked = await request('--csr', file('lower.csr'), '--out', file('lower.pem'));
      assert.equal(asked.code, 0, asked.err);
      const imported = await local(
        'authority',
        'import',
        id,
        '--chain',
        file('lower.pem'),
        '--root-sha256',
        sha256Hex(upper.rootsDer[0] as Buffer),
      );
      assert.equal(imported.code, 0, imported.err);
      await until(() => lower.server.port > 0);
      const svid = await lower.mint('spiffe://mesh.test/below');
      assert.ok(
        verifyX509Svid({
          chainDer: svid.chainDer,
          bundle: () => upper.rootsDer,
          now: Math.floor(Date.now() / 1000),
        }).ok,
      );

      assert.match(
        (await local('authority', 'status')).out,
        /has no CRL: meshca authority import-crl FILE/,
      );
      const { authorities } = await upper.admin('Authorities/ListAuthorities', { kind: 'root' });
      const response = await fetch(
        `http://127.0.0.1:${upper.server.httpPorts.plain}/crl/${authorities[0]!.id}.crl`,
      );
      await writeFile(file('root.crl'), Buffer.from(await response.arrayBuffer()));
      const dry = await local('authority', 'import-crl', file('root.crl'), '--dry-run');
      assert.deepEqual([dry.code, /nothing was changed/.test(dry.out)], [0, true], dry.err);
      const taken = await local('authority', 'import-crl', file('root.crl'));
      assert.equal(taken.code, 0, taken.err);
      // the lower server signs its own in the background
      await until(
        async () => (await lower.admin('Authorities/GetRotationStatus')).crlsHandedOut,
        'its own CRL',
      );
      assert.match(
        (await local('authority', 'import-crl', file('root.crl'))).out,
        /the server already has it[^]*the set is complete/,
      );
      await writeFile(file('bad.crl'), 'no CRL');
      const bad = await local('authority', 'import-crl', file('bad.crl'));
      assert.match(bad.err, /CRL_INVALID/);

      await agentsBelow(lower, upper.rootsDer);
    },
  );
});

/** The issuer of a nested server has no mark: whoever meets it first needs its fingerprint. */
async function agentsBelow(lower: TestServer, rootsDer: readonly Buffer[]): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'meshca-below-'));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const address = `127.0.0.1:${lower.server.port}`;
  const { token, agentId, issuerFingerprints, rootFingerprints } = await lower.admin(
    'Tokens/CreateJoinToken',
    { agentName: 'below' },
  );
  assert.deepEqual(rootFingerprints, rootsDer.map(sha256Hex));
  const agentWith = async (name: string, bootstrap: object) => {
    const config = agentConfigSchema.parse({
      trustDomain: testTrustDomain,
      serverAddress: address,
      dataDir: join(dir, name),
      bootstrap,
      attestation: { joinToken: { token } },
      workloadApi: { socketPath: join(dir, `${name}w`) },
      localApi: { socketPath: join(dir, `${name}l`) },
      ops: { port: 0 },
      connection: { backoffBaseMs: 20, backoffCapMs: 100 },
    });
    return stack.use(await startAgent(agentEnvironment(config)));
  };
  const rootFingerprint = rootFingerprints[0];
  const without = await agentWith('without', { rootFingerprint });
  await until(() => /RESERVED_ID_UNTRUSTED/.test(without.status().lastError ?? ''), 'the refusal');
  const agent = await agentWith('with', {
    rootFingerprint,
    issuerFingerprint: issuerFingerprints.join(','),
  });
  await until(() => agent.status().synced === true, 'the session with the server below');

  const entry = {
    spiffeId: 'spiffe://mesh.test/below',
    parentId: agentId,
    selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
  };
  await lower.admin('Entries/CreateEntries', { entries: [entry] });
  await until(() => agent.status().entries === 1, 'the entry');
  const source = await X509Source.connect({ socketPath: join(dir, 'withw') });
  stack.defer(() => source.close());
  const socket = await connectTls(source, {
    expect: authorizeId(`spiffe://${testTrustDomain}/meshca/server`),
    host: '127.0.0.1',
    port: lower.server.port,
    ALPNProtocols: ['h2'],
  });
  socket.destroy();

  const admin = ['mint', '--admin', '--spiffe-id', 'spiffe://mesh.test/a', '--write', dir];
  const minted = await meshca('--server-socket', lower.server.adminSocketPath, ...admin);
  assert.equal(minted.code, 0, minted.err);
  const files = ['--cert', join(dir, 'svid.pem'), '--key', join(dir, 'key.pem')];
  const asked = await meshca(
    ...['--server', address, ...files, '--bundle', join(dir, 'bundle.pem'), 'status'],
  );
  assert.match(asked.err, /ROLE_MISSING/, 'its issuer is that of the admin');
}
