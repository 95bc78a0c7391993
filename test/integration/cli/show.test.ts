import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runCommand, type CommandEnd } from '../../support/command.ts';
import {
  attestByToken,
  codeOf,
  startTestServer,
  unaryCall,
  type TestServer,
} from '../../support/server.ts';

let server: TestServer;
let dir: string;
const agent = (name: string): string => `spiffe://mesh.test/meshca/agent/${name}`;

const run = (...args: readonly string[]): Promise<CommandEnd> => runCommand(server, args);

const codeIn = ({ err }: { readonly err: string }): string =>
  (JSON.parse(err) as { error: { code: string } }).error.code;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-cli-show-'));
  server = await startTestServer();
  await server.joinAgent('node-1');
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

test('an agent is shown by its ID or its name, not by a part of the name', async () => {
  const whole = await run('agent', 'show', agent('node-1'), '--json');
  const named = await run('agent', 'show', 'node-1', '--json');
  assert.deepEqual([whole.code, named.code], [0, 0], named.err);
  assert.deepEqual(JSON.parse(named.out), JSON.parse(whole.out));
  for (const name of ['ode-1', 'node-2']) {
    const absent = await run('agent', 'show', name, '--json');
    assert.deepEqual([absent.code, codeIn(absent)], [3, 'NOT_FOUND']);
  }
});

test('a delegation is shown by its ID, also a revoked one', async () => {
  const { id } = JSON.parse(
    (
      await run(
        'delegation',
        'create',
        '--client-id',
        'spiffe://mesh.test/plane',
        '--pattern',
        'spiffe://mesh.test/apps/*',
        '--max-ttl',
        '10m',
        '--json',
      )
    ).out,
  ) as { id: string };
  for (const revoked of [false, true]) {
    if (revoked) assert.equal((await run('delegation', 'delete', id)).code, 0);
    const shown = JSON.parse((await run('delegation', 'show', id, '--json')).out) as {
      id: string;
      patterns: string[];
      revokedAt: number;
    };
    assert.deepEqual(
      [shown.id, shown.patterns, shown.revokedAt > 0],
      [id, ['spiffe://mesh.test/apps/*'], revoked],
    );
  }
  assert.match((await run('delegation', 'show', id)).out, /spiffe:\/\/mesh\.test\/plane/);
  const absent = await run('delegation', 'show', 'none', '--json');
  assert.deepEqual([absent.code, codeIn(absent)], [3, 'NOT_FOUND']);
});

test('a role is shown by its name', async () => {
  assert.equal(
    (
      await run(
        'role',
        'set',
        'readers',
        '--verb',
        '*.read',
        '--prefix',
        'spiffe://mesh.test/',
        '--member',
        'spiffe://mesh.test/alice',
      )
    ).code,
    0,
  );
  assert.deepEqual(
    (JSON.parse((await run('role', 'show', 'readers', '--json')).out) as { members: string[] })
      .members,
    ['spiffe://mesh.test/alice'],
  );
  assert.match((await run('role', 'show', 'readers')).out, /\*\.read/);
  const absent = await run('role', 'show', 'reader', '--json');
  assert.deepEqual([absent.code, codeIn(absent)], [3, 'NOT_FOUND']);
});

test('an entry whose parent has never joined is created, with a note', async () => {
  const create = (id: string, parent: string, ...more: readonly string[]) =>
    run(
      'entry',
      'create',
      '--id',
      id,
      '--spiffe-id',
      `spiffe://mesh.test/${id}`,
      '--parent-id',
      parent,
      '--selector',
      'unix:uid:1000',
      ...more,
    );
  const known = await create('a', agent('node-1'));
  const unknown = await create('b', agent('nod-1'));
  const asJson = await create('c', agent('nod-1'), '--json');
  const nodeSet = await create('d', 'spiffe://mesh.test/meshca/server');
  assert.deepEqual(
    [known.code, unknown.code, asJson.code, nodeSet.code],
    [0, 0, 0, 0],
    nodeSet.err,
  );
  assert.deepEqual([known.err, asJson.err, nodeSet.err], ['', '', '']);
  assert.ok(unknown.err.startsWith(`note: no agent has joined as ${agent('nod-1')}`), unknown.err);
  const file = join(dir, 'entries.yaml');
  await writeFile(
    file,
    JSON.stringify({
      entries: ['x', 'y'].map((id) => ({
        id,
        spiffeId: `spiffe://mesh.test/${id}`,
        parentId: agent(`nod-${id}`),
        selectors: ['unix:uid:1000'],
      })),
    }),
  );
  for (const dryRun of [true, false]) {
    const applied = await run('entry', 'apply', '--file', file, ...(dryRun ? ['--dry-run'] : []));
    assert.deepEqual(
      [applied.code, applied.err.match(/note: no agent has joined as/g)?.length],
      [0, 2],
      applied.err,
    );
  }
  assert.equal((await run('entry', 'apply', '--file', file)).err, '');
});

test('a revoked join token lets nobody join and is on record; a used one can not be revoked', async () => {
  const made = JSON.parse(
    (await run('token', 'create', '--agent-name', 'node-9', '--json')).out,
  ) as { token: string; id: string };
  assert.equal((await run('token', 'delete', made.id, '--reason', 'lost')).code, 0);
  assert.equal(await codeOf(attestByToken(server.client(), made.token)), 'JOIN_TOKEN_INVALID');
  const again = await run('token', 'delete', made.id, '--json');
  assert.deepEqual([again.code, codeIn(again)], [6, 'CONFLICT']);
  const absent = await run('token', 'delete', 'none', '--json');
  assert.deepEqual([absent.code, codeIn(absent)], [3, 'NOT_FOUND']);
  assert.match((await run('token', 'list')).out, new RegExp(`${made.id}.*revoked`));
  const { tokens } = await server.admin('Tokens/ListJoinTokens');
  const used = (tokens as { id: string; agentId: string }[]).find(
    ({ agentId }) => agentId === agent('node-1'),
  );
  assert.equal(codeIn(await run('token', 'delete', used?.id ?? '', '--json')), 'CONFLICT');
  const { records } = await server.admin('Audit/ListAuditRecords', {
    kind: 'token.revoked',
    page: { size: 10, token: '' },
  });
  assert.equal(records.length, 1);
  // revoked or not stands in the log, and the log holds after a restart
  await server.restart();
  assert.equal(await codeOf(attestByToken(server.client(), made.token)), 'JOIN_TOKEN_INVALID');
  assert.equal((await run('agent', 'show', 'node-9')).code, 3);
});

test('an admin revokes only tokens for names that his role covers', async () => {
  await server.admin('Roles/PutRole', {
    role: {
      name: 'joiner',
      verbs: ['token.create'],
      prefixes: [agent('edge-1')],
      members: ['spiffe://mesh.test/ops/j'],
    },
  });
  const admin = server.client(await server.mint('spiffe://mesh.test/ops/j', { admin: true }));
  for (const [name, code] of [
    ['edge-1', 'resolved'],
    ['core-1', 'ROLE_MISSING'],
  ] as const) {
    const { id } = await server.admin('Tokens/CreateJoinToken', { agentName: name });
    assert.equal(
      await codeOf(unaryCall(admin, '/meshca.admin.v1.Tokens/RevokeJoinToken', { id })),
      code,
      name,
    );
  }
});
