import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { replaceDatabase } from '../../../src/store/index.ts';
import { allMethods, codeOf, startTestServer, type TestServer } from '../../support/server.ts';
import { logSettled } from '../../support/settled.ts';
import { patienceMs } from '../../support/until.ts';

/** What the server says beside the answer of an act. */
function noteOf(server: TestServer, path: string, request: object): Promise<readonly string[]> {
  const method = allMethods()[path];
  if (method === undefined) throw new Error(`no method ${path}`);
  return new Promise((resolve, reject) => {
    const call = server
      .adminClient()
      .makeUnaryRequest(
        path,
        method.requestSerialize as (value: object) => Buffer,
        method.responseDeserialize as (bytes: Buffer) => object,
        request,
        new Metadata(),
        (error: ServiceError | null) => {
          if (error) reject(error);
        },
      );
    call.on('status', ({ metadata }) => resolve(metadata.get('meshca-note').map(String)));
  });
}

test('on a stale database nothing is given or begun, and what is taken away says where it is', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  const ban = { spiffeId: agent.spiffeId, reason: 'stolen' };
  const path = '/meshca.admin.v1.Agents/BanAgent';
  await logSettled(server);
  const older = join(server.dir, 'older.db');
  const file = join(server.config.dataDir, 'meshca.db');
  const database = new DatabaseSync(file, { timeout: patienceMs });
  database.exec(`VACUUM INTO '${older}'`);
  database.close();
  assert.deepEqual(await noteOf(server, path, ban), [], 'nothing is said on a good database');
  await server.admin('Agents/EvictAgent', ban);
  await logSettled(server);
  await server.stop();
  replaceDatabase({ path: file, from: older, pid: process.pid, now: 0 });
  await server.restart();
  const restore = await server.admin('Server/ShowRestore');
  assert.ok(restore.stale);

  const { admin } = server;
  const entry = { id: 'web', spiffeId: 'spiffe://mesh.test/web', parentId: agent.spiffeId };
  const acts = {
    rotate: admin('Authorities/RotateAuthorities', { kind: 'issuing' }),
    entry: admin('Entries/CreateEntries', { entries: [{ ...entry, selectors: ['unix:uid:1'] }] }),
    token: admin('Tokens/CreateJoinToken', { agentName: 'node-2' }),
    role: admin('Roles/PutRole', {
      role: { name: 'r', verbs: ['*.read'], prefixes: [], members: [] },
    }),
    delegation: admin('Delegations/CreateDelegation', {
      delegation: { clientId: 'spiffe://mesh.test/i', patterns: ['spiffe://mesh.test/ns/**'] },
    }),
  };
  for (const [name, act] of Object.entries(acts))
    assert.equal(await codeOf(act), 'DATABASE_STALE', name);
  const { operations } = await admin('Authorities/GetRotationStatus');
  assert.deepEqual(operations, [], 'no goal waits');

  const [note] = await noteOf(server, path, ban);
  assert.match(note ?? '', /stays if the loss is accepted .* repeat the act there/);
  await admin('Server/AcceptRestore', { size: restore.expected });
  assert.equal((await admin('Agents/GetAgent', ban)).agent?.state, 'banned', 'it stays');
  await admin('Tokens/CreateJoinToken', { agentName: 'node-2' });
  assert.deepEqual(await noteOf(server, path, ban), []);
});
