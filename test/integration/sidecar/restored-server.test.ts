import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { defer } from '../../support/agent-fake-server.ts';
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
