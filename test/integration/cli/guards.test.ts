import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { CliContext } from '../../../src/cli/context.ts';
import { runCommand, type CommandEnd } from '../../support/command.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';

let server: TestServer;
let dir: string;

const run = (args: readonly string[], given: Partial<CliContext> = {}): Promise<CommandEnd> =>
  runCommand(server, args, given);

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-cli-guards-'));
  server = await startTestServer();
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

const entry = (id: string): object => ({
  id,
  spiffeId: `spiffe://mesh.test/${id}`,
  parentId: 'spiffe://mesh.test/meshca/agent/node-1',
  selectors: ['unix:uid:1000'],
});
const ids = async (): Promise<string[]> =>
  (JSON.parse((await run(['entry', 'list', '--json'])).out) as { id: string }[])
    .map(({ id }) => id)
    .toSorted();

test('deletes of a file are asked for, and more than the limit are refused', async () => {
  const file = join(dir, 'entries.json');
  const apply = async (
    entries: readonly object[],
    args: readonly string[],
    answer?: boolean,
  ): Promise<CommandEnd> => {
    await writeFile(file, JSON.stringify({ entries }));
    return run(['entry', 'apply', '-f', file, ...args], { ask: async () => answer });
  };
  const names = ['a', 'b', 'c'];
  assert.equal((await apply(names.map(entry), ['--prune'])).code, 0, 'nothing is deleted');
  const nobody = await apply([entry('a')], ['--prune']);
  assert.equal(nobody.code, 2);
  assert.match(nobody.err, /- b .*\n- c .*\n[^]*--yes/);
  assert.equal((await apply([entry('a')], ['--prune'], false)).code, 1);
  const limited = await apply([entry('a')], ['--prune', '--yes', '--max-deletes', '1']);
  assert.equal(limited.code, 2);
  assert.match(limited.err, /2 entries would be deleted[^]*--max-deletes 2/);
  assert.deepEqual(await ids(), names);
  assert.equal((await apply([entry('a'), entry('b')], ['--prune'], true)).code, 0);
  assert.equal((await apply([entry('a')], ['--prune', '--yes'])).code, 0);
  assert.deepEqual(await ids(), ['a']);
});

test('a selector that no process can have is refused in commands and files', async () => {
  const file = join(dir, 'odd.json');
  await writeFile(
    file,
    JSON.stringify({ entries: [{ ...entry('odd'), selectors: ['unix:uid:www-data'] }] }),
  );
  const odd = await run(['entry', 'apply', '-f', file]);
  assert.equal(odd.code, 2);
  assert.match(odd.err, /SELECTOR_INVALID/);
  const listed = await run(['entry', 'list', '--selector', 'unix:gid:wheel']);
  assert.deepEqual([listed.code, /SELECTOR_INVALID/.test(listed.err)], [2, true]);
});

test('no time at all and days that no calendar has are refused', async () => {
  const create = ['entry', 'create', '--spiffe-id', 'spiffe://mesh.test/t'];
  const rest = [
    '--parent-id',
    'spiffe://mesh.test/meshca/agent/node-1',
    '--selector',
    'unix:uid:1',
  ];
  assert.equal((await run([...create, ...rest, '--ttl', '0'])).code, 2);
  const file = join(dir, 'day.json');
  for (const odd of [{ expiresAt: '2030-02-30' }, { x509Ttl: 0 }]) {
    await writeFile(file, JSON.stringify({ entries: [{ ...entry('day'), ...odd }] }));
    assert.equal((await run(['entry', 'apply', '-f', file])).code, 2, JSON.stringify(odd));
  }
  assert.equal((await run([...create, ...rest, '--ttl', '5m', '--id', 't'])).code, 0);
  assert.equal((await run(['entry', 'update', 't', '--ttl', 'default'])).code, 0);
});

test('mint replaces no file unless it is told to', async () => {
  const mint = ['mint', '--spiffe-id', 'spiffe://mesh.test/by-hand', '--write', dir];
  assert.equal((await run(mint)).code, 0);
  const key = await readFile(join(dir, 'key.pem'), 'utf8');
  const again = await run(mint);
  assert.equal(again.code, 2);
  assert.match(again.err, /svid\.pem exists/);
  assert.equal(await readFile(join(dir, 'key.pem'), 'utf8'), key);
  assert.equal((await run([...mint, '--replace'])).code, 0);
  assert.notEqual(await readFile(join(dir, 'key.pem'), 'utf8'), key);
  assert.ok(existsSync(join(dir, 'bundle.pem')));
});

test('agents are banned by name, certificates and tokens found by a part of their ID', async () => {
  const agent = await server.joinAgent('node-7');
  const banned = await run(['agent', 'ban', 'node-7']);
  assert.equal(banned.code, 0, banned.err);
  assert.match(banned.out, new RegExp(`^${agent.spiffeId} is banned`));
  assert.equal((await run(['agent', 'evict', 'node-8'])).code, 3);
  const [newest, next] = JSON.parse((await run(['certificate', 'list', '--json'])).out) as {
    serial: string;
    createdAt: number;
    certificateDer: string;
  }[];
  assert.ok((newest?.createdAt ?? 0) >= (next?.createdAt ?? Infinity), 'the newest first');
  assert.equal(Buffer.from(newest?.certificateDer ?? '', 'base64')[0], 0x30);
  // tables show the end of a serial: its beginning is the time, which certificates of one moment share
  const shown = await run(['certificate', 'show', (newest?.serial ?? '').slice(-10)]);
  assert.match(shown.out, new RegExp(`serial +${newest?.serial}`));
  assert.equal((await run(['token', 'create', '--agent-name', 'node-9'])).code, 0);
  const tokens = JSON.parse((await run(['token', 'list', '--json'])).out) as {
    id: string;
    agentId: string;
  }[];
  const token = tokens.find(({ agentId }) => agentId.endsWith('/node-9'));
  const deleted = await run(['token', 'delete', (token?.id ?? '').slice(-12)]);
  assert.match(deleted.out, new RegExp(`^revoked ${token?.id}`));
});

test('an interrupted command ends at once with 130 and says what may still happen', async () => {
  const stop = new AbortController();
  const asked = run(['entry', 'apply', '-f', '-'], {
    signal: stop.signal,
    readStdin: () => new Promise<string>(() => {}),
  });
  stop.abort();
  const { code, err } = await asked;
  assert.equal(code, 130);
  assert.match(err, /CANCELLED/);
});
