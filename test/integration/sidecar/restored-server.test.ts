import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { replaceDatabase } from '../../../src/store/index.ts';
import { defer } from '../../support/agent-fake-server.ts';
import {
  eventually,
  quickLives,
  rotationOf,
  startNode,
  type MeshNode,
} from '../../support/mesh.ts';
import { freePort } from '../../support/ports.ts';
import { serverStreamCall, startTestServer, type TestServer } from '../../support/server.ts';

async function meshOf(context: TestContext): Promise<{ server: TestServer; node: MeshNode }> {
  const server = await startTestServer({
    config: { ...quickLives, listen: { port: await freePort() } },
  });
  defer(context, () => server[Symbol.asyncDispose]());
  const node = await startNode(server, 'one');
  defer(context, () => node[Symbol.asyncDispose]());
  return { server, node };
}

async function backupOf(server: TestServer): Promise<string> {
  const chunks: Buffer[] = [];
  await serverStreamCall(
    server.adminClient(),
    '/meshca.admin.v1.Server/Backup',
    {},
    (message: { data: Buffer }) => void chunks.push(message.data),
  );
  const path = join(server.dir, 'backup.db');
  await writeFile(path, Buffer.concat(chunks));
  return path;
}

const held = ({ agent }: MeshNode): number => agent.status().bundleSequence as number;
const isThere = ({ agent }: MeshNode): boolean =>
  agent.status().connected === true && agent.status().synced === true;

test('after a restore an agent that holds later bundles follows a forced rotation of the root', async (context) => {
  const { server, node } = await meshOf(context);
  const { rotate, activeId, active } = rotationOf(server);
  const backup = await backupOf(server);
  await rotate('issuing');
  await rotate('jwt');
  const sequence = async (): Promise<number> =>
    Number((await server.admin('Authorities/GetBundle')).sequence);
  await eventually(
    'the agent holds the newest bundle',
    async () => held(node) === (await sequence()),
  );
  const before = held(node);
  await server.stop();
  replaceDatabase({
    path: join(server.dir, 'data', 'meshca.db'),
    from: backup,
    pid: process.pid,
    now: Math.floor(Date.now() / 1000),
  });
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
