import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { defer } from '../../support/agent-fake-server.ts';
import { runCommand } from '../../support/command.ts';
import {
  eventually,
  quickLives,
  rotationOf,
  startNode,
  type MeshNode,
} from '../../support/mesh.ts';
import { freePort } from '../../support/ports.ts';
import { backupOf, putBack } from '../../support/restore.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';

async function meshOf(context: TestContext): Promise<{ server: TestServer; node: MeshNode }> {
  const server = await startTestServer({
    config: { ...quickLives, listen: { port: await freePort() } },
  });
  defer(context, () => server[Symbol.asyncDispose]());
  const node = await startNode(server, 'one');
  defer(context, () => node[Symbol.asyncDispose]());
  return { server, node };
}

const held = ({ agent }: MeshNode): number => agent.status().bundleSequence as number;
const isThere = ({ agent }: MeshNode): boolean =>
  agent.status().connected === true && agent.status().synced === true;

test('after a restore an agent that holds later bundles follows a forced rotation of the root', async (context) => {
  const { server, node } = await meshOf(context);
  const { rotate, activeId, active } = rotationOf(server);
  const backup = await backupOf(server);
  // not the JWT authority: that of the backup signs the bundle behind the restore, and here it would
  // leave the agent's bundle within seconds
  await rotate('issuing');
  await rotate('issuing');
  const sequence = async (): Promise<number> =>
    Number((await server.admin('Authorities/GetBundle')).sequence);
  await eventually(
    'the agent holds the newest bundle',
    async () => held(node) === (await sequence()),
  );
  const before = held(node);
  await putBack(server, backup);
  await server.restart();
  const { stale, expected } = await server.admin('Server/ShowRestore');
  assert.equal(stale, true);
  await server.admin('Server/AcceptRestore', { size: expected });
  await eventually('the agent takes the bundle of the restored server', () => held(node) > before);
  const restored = await sequence();
  assert.ok(restored > 1_700_000_000, `it counts from the time of the restore: ${restored}`);
  const rootBefore = await activeId('root');
  await server.admin('Authorities/RotateAuthorities', {
    kind: 'root',
    force: true,
    reason: 'right after the restore',
  });
  await eventually('a new root signs', async () => (await activeId('root')) !== rootBefore);
  const root = await activeId('root');
  await eventually(
    'an intermediate below it signs',
    async () => (await active('issuing')).parentId === root,
  );
  assert.ok((await sequence()) - restored < 100, 'by one from there on');
  // the server now shows a certificate below the new root
  await server.restart();
  await eventually('the agent is back', () => isThere(node));
  await eventually('and holds the newest bundle', async () => held(node) === (await sequence()));
});

const gauge = async (opsPort: number, name: string): Promise<number> => {
  const text = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text();
  return Number(new RegExp(`^${name} ([0-9]+)$`, 'm').exec(text)?.[1]);
};

test('an agent that refuses the bundle of a restored server shows it, here and there, until it joins again', async (context) => {
  const { server, node } = await meshOf(context);
  const backup = await backupOf(server);
  await rotationOf(server).rotate('jwt');
  await eventually('the JWT authority of the backup has left the bundle', async () => {
    const { bundleJson, sequence } = await server.admin('Authorities/GetBundle');
    const { keys } = JSON.parse(bundleJson) as {
      readonly keys: readonly { readonly use: string }[];
    };
    const left = keys.filter(({ use }) => use === 'jwt-svid').length;
    return left === 1 && held(node) === Number(sequence);
  });
  await putBack(server, backup);
  await server.restart();
  const { expected } = await server.admin('Server/ShowRestore');
  await server.admin('Server/AcceptRestore', { size: expected });

  const shown = async () =>
    (await server.admin('Agents/GetAgent', { spiffeId: node.agentId })).agent?.bundleRefusal;
  await eventually('the server is told', async () => (await shown())?.code !== undefined);
  assert.equal((await shown())?.code, 'SERVER_UNTRUSTED');
  assert.equal(Number((await shown())?.heldSequence), held(node));
  assert.equal(await gauge(server.server.opsPort, 'meshca_agents_refusing_bundle'), 1);
  assert.equal(await gauge(node.agent.opsPort, 'meshca_agent_bundle_refused'), 1);
  const { reasons, notes } = node.agent.readiness();
  assert.deepEqual(reasons, []);
  assert.match(
    notes.join(),
    /is refused, .* \(SERVER_UNTRUSTED\)\. If the server was restored from/,
  );
  assert.match((node.agent.status().reasons ?? []).join(), /remove its data directory/);
  for (const args of [['list'], ['show', 'one']]) {
    const { out } = await runCommand(server, ['agent', ...args]);
    assert.match(out, /refuses \d+, goes on with \d+: SERVER_UNTRUSTED: bundle/);
    assert.match(out, /remove its data directory, and let it join again/);
  }

  // as the advice says: another directory, and a new token
  await node.stop();
  assert.equal(await gauge(server.server.opsPort, 'meshca_agents_refusing_bundle'), 0);
  const again = await startNode(server, 'one');
  defer(context, () => again[Symbol.asyncDispose]());
  await eventually('the newest bundle is held', async () => {
    const { sequence } = await server.admin('Authorities/GetBundle');
    return held(again) === Number(sequence);
  });
  assert.equal((await shown()) ?? null, null);
});
