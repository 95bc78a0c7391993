import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCli } from '../../../src/cli/program.ts';
import { sha256Hex } from '../../../src/common/x509/index.ts';
import { startAgent } from '../../../sidecar/compose.ts';
import { agentConfigSchema } from '../../../sidecar/config.ts';
import { agentEnvironment } from '../../support/agent-environment.ts';
import { runCommand, testContext } from '../../support/command.ts';
import { startTestServer, testTrustDomain } from '../../support/server.ts';
import { until } from '../../support/until.ts';

test('a workload exchanges its SVID for an EAB key, inside its delegation of names', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startTestServer());
  const dir = await mkdtemp(join(tmpdir(), 'meshca-exchange-'));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const address = `127.0.0.1:${server.server.port}`;
  const socket = join(dir, 'w');
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'node' });
  const config = agentConfigSchema.parse({
    ...{ trustDomain: testTrustDomain, serverAddress: address, dataDir: join(dir, 'd') },
    bootstrap: { rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer) },
    attestation: { joinToken: { token } },
    workloadApi: { socketPath: socket },
    localApi: { socketPath: join(dir, 'l') },
    ops: { port: 0 },
    connection: { backoffBaseMs: 50, backoffCapMs: 200 },
  });
  const agent = stack.use(await startAgent(agentEnvironment(config)));
  await until(() => agent.status().synced === true);
  const spiffeId = `spiffe://${testTrustDomain}/shop/ci`;
  await server.admin('Entries/CreateEntries', {
    entries: [{ spiffeId, parentId: agentId, selectors: [`unix:uid:${process.getuid?.() ?? 0}`] }],
  });
  await until(() => agent.status().entries === 1);
  const tenant = [
    '--dns-suffix',
    'shop.test',
    '--spiffe-prefix',
    `spiffe://${testTrustDomain}/shop/`,
  ];
  for (const command of [
    ['tenant', 'create', 'shop', ...tenant],
    [
      ...['delegation', 'create', '--client-id', spiffeId, '--dns-pattern', '*.shop.test'],
      ...['--profile', 'short', '--max-ttl', '1h'],
    ],
  ]) {
    const { code, err } = await runCommand(server, command);
    assert.equal(code, 0, err);
  }
  const exchange = async (...args: readonly string[]) => {
    const { context, seen } = testContext();
    const options = ['--server', address, '--socket', socket, ...args];
    const code = await runCli(['acme', 'key', 'exchange', ...options], context);
    return { code, ...seen };
  };
  const made = await exchange('--name', 'www.shop.test', '--json');
  assert.equal(made.code, 0, made.err);
  const { id, macKey, tenant: owner } = JSON.parse(made.out);
  assert.equal(owner, 'shop');
  const secret = await runCommand(server, ['acme', 'key', 'show', id, '--secret']);
  assert.ok(secret.out.includes(macKey), secret.err);
  const shown = await runCommand(server, ['acme', 'key', 'show', id]);
  assert.match(shown.out, /accounts +single\n/);
  assert.match(shown.out, new RegExp(`by ${spiffeId}`));
  const refused = await exchange('--name', 'www.other.test');
  assert.match(refused.err, /OUTSIDE_DELEGATION/);
});
