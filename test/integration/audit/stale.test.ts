import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync } from '../../../src/common/x509/index.ts';
import { replaceDatabase } from '../../../src/store/index.ts';
import {
  attestByToken,
  codeOf,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { checkpointSync as sync } from '../../support/checkpoint-sync.ts';
import { logSettled } from '../../support/settled.ts';
import { patienceMs, until } from '../../support/until.ts';

const id = (path: string): string => `spiffe://mesh.test${path}`;

const sizeOf = (note: string | undefined): number => Number(note?.split('\n')[1] ?? 0);

const csr = async (): Promise<Buffer> =>
  createCsr((await generateKeyPairAsync('ec-p256')).privateKey);

async function signs(server: TestServer, agent: Credential): Promise<string> {
  const item = {
    requestId: uuidv7(),
    entryId: 'web',
    csrDer: await csr(),
    selectors: [{ type: 'unix', value: 'uid:1000' }],
  };
  return unaryCall(server.client(agent), '/meshca.issuer.v1.AgentIssuer/SignX509Svids', {
    items: [item],
  }).then(
    ({ results }) => (results[0]!.svid ? 'issued' : results[0]!.refusal!.code),
    (thrown: { code: string }) => thrown.code,
  );
}

test('the checkpoint of an agent reveals a restored database, and the server signs nothing until accepted', async () => {
  await using server = await startTestServer();
  const agent = await server.joinAgent('node-1');
  const other = await server.joinAgent('node-2');
  await server.admin('Entries/CreateEntries', {
    entries: [
      { id: 'web', spiffeId: id('/web'), parentId: agent.spiffeId, selectors: ['unix:uid:1000'] },
    ],
  });
  const { token } = await server.admin('Tokens/CreateJoinToken', { agentName: 'node-3' });
  await server.admin('Tokens/CreateJoinToken', { agentName: 'node-4' });
  await logSettled(server);
  const older = join(server.dir, 'older.db');
  const path = join(server.dir, 'data', 'meshca.db');
  const database = new DatabaseSync(path, { timeout: patienceMs });
  database.exec(`VACUUM INTO '${older}'`);
  database.close();
  await server.admin('Agents/BanAgent', { spiffeId: other.spiffeId, reason: 'stolen' });
  assert.equal(await signs(server, agent), 'issued');
  const lost = await logSettled(server);
  const first = sync(server, agent);
  // what left last is what it holds last, though not each checkpoint is sent
  let held: string | undefined;
  await until(
    () => sizeOf((held = first.notes.at(-1))) >= lost,
    'the newest checkpoint comes down',
  );
  assert.ok(held !== undefined, 'the newest checkpoint comes down');
  first.close();
  await server.stop();

  // with everything that lies beside the database
  replaceDatabase({ path, from: older, pid: process.pid, now: Math.floor(Date.now() / 1000) });
  await rm(join(server.dir, 'data', 'checkpoints.log'));
  await server.restart();
  assert.equal(
    (await server.admin('Server/GetStatus')).ready,
    true,
    'nothing on this machine shows it',
  );
  assert.equal(await signs(server, agent), 'issued');
  const unproven = async (): Promise<boolean> =>
    (await server.admin('Server/GetStatus')).provenBy === '';
  assert.ok(await unproven());

  // an agent that lies: another size, another root, another signature, another log
  const [origin, size, root, , signature] = held.split('\n') as [
    string,
    string,
    string,
    string,
    string,
  ];
  for (const false_ of [
    [origin, String(Number(size) + 1_000_000), root, '', signature, ''],
    [origin, size, Buffer.alloc(32).toString('base64'), '', signature, ''],
    [`${origin}/7`, size, root, '', signature, ''],
    [origin, size, root, '', `${signature.slice(0, -8)}AAAAAAA=`, ''],
    ['elsewhere/meshca/audit', size, root, '', signature, ''],
    ['x'.repeat(50_000)],
  ]) {
    const lying = sync(server, agent, false_.join('\n'));
    await until(() => lying.welcomed());
    lying.close();
    assert.equal(
      (await server.admin('Server/GetStatus')).ready,
      true,
      false_.join('|').slice(0, 60),
    );
    assert.ok(await unproven());
  }

  // and one that does not
  const honest = sync(server, agent, held);
  await until(() => honest.welcomed());
  const status = await server.admin('Server/GetStatus');
  assert.equal(status.ready, false);
  assert.match(status.reasons.join(), /DATABASE_STALE/);
  assert.equal(await signs(server, agent), 'DATABASE_STALE');
  assert.equal(
    await codeOf(
      unaryCall(server.client(agent), '/meshca.issuer.v1.AgentIssuer/SignJwtSvid', {
        requestId: uuidv7(),
        entryId: 'web',
        audience: ['a'],
        selectors: [{ type: 'unix', value: 'uid:1000' }],
      }),
    ),
    'DATABASE_STALE',
  );
  assert.equal(
    await codeOf(
      unaryCall(server.client(agent), '/meshca.issuer.v1.AgentIssuer/RenewAgent', {
        requestId: uuidv7(),
        csrDer: await csr(),
        agentVersion: 'test',
      }),
    ),
    'DATABASE_STALE',
  );
  assert.equal(await codeOf(attestByToken(server.client(), token as string)), 'DATABASE_STALE');
  assert.equal(await codeOf(server.mint(id('/by-hand'))), 'DATABASE_STALE');
  assert.equal(
    await codeOf(
      server.admin('AuthoritySources/SignDownstream', {
        csrDer: await csr(),
        ttlSeconds: 86_400,
        requestId: uuidv7(),
      }),
    ),
    'DATABASE_STALE',
  );
  const difference = await server.admin('Server/ShowRestore');
  assert.deepEqual(
    [difference.stale, difference.expected, difference.foundBy, difference.proven],
    [true, Number(size), agent.spiffeId, true],
  );
  assert.ok(
    difference.lost.some(
      (each: { kind: string; subject: string }) =>
        each.kind === 'agent.banned' && each.subject === other.spiffeId,
    ),
  );
  assert.ok(
    difference.comingBack.some(
      (each: { kind: string; id: string }) => each.kind === 'agent' && each.id === other.spiffeId,
    ),
  );
  assert.ok(difference.comingBack.some((each: { kind: string }) => each.kind === 'token'));

  await server.restart();
  assert.match(
    (await server.admin('Server/GetStatus')).reasons.join(),
    /DATABASE_STALE/,
    'what an agent showed is known after a restart',
  );
  assert.equal(server.server.port, 0);
  assert.equal(
    await codeOf(server.admin('Server/AcceptRestore', { size: Number(size) + 1 })),
    'CONFLICT',
  );
  await server.admin('Server/AcceptRestore', { size: Number(size) });
  assert.equal(
    await codeOf(server.admin('Server/AcceptRestore', { size: Number(size) })),
    'CONFLICT',
    'once',
  );
  await until(() => server.server.port !== 0);
  assert.equal(await signs(server, agent), 'issued');
  assert.equal(
    (await server.admin('Agents/GetAgent', { spiffeId: other.spiffeId })).agent?.state,
    'banned',
    'the ban of the lost time stands',
  );
  const { records } = await server.admin('Audit/ListAuditRecords', {
    kind: 'database.restored',
    page: { size: 10, token: '' },
  });
  assert.equal(records.length, 1);
  assert.equal(records[0]!.actor, `uid:${process.getuid?.() ?? 0}`);

  // a checkpoint of the epoch that was given up is no news
  const late = sync(server, agent, held);
  await until(() => late.notes.length > 0);
  assert.match(late.notes[0] as string, /^mesh\.test\/meshca\/audit\/1\n/);
  late.close();
  assert.equal((await server.admin('Server/GetStatus')).ready, true);
});
