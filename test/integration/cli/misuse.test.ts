import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runCli } from '../../../src/cli/program.ts';
import type { CliContext } from '../../../src/cli/context.ts';
import { fail, ok } from '../../../src/common/errors/index.ts';
import { runCommand, type CommandEnd } from '../../support/command.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';

let server: TestServer;
let dir: string;

const run = (...args: readonly string[]): Promise<CommandEnd> => runCommand(server, args);

async function inventory(): Promise<number> {
  return (JSON.parse((await run('certificate', 'list', '--json')).out) as unknown[]).length;
}

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-cli-misuse-'));
  server = await startTestServer();
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

test('a word in place of a number is refused, and is not taken as zero', async () => {
  for (const args of [
    ['require', 'x'],
    ['require', ''],
    ['enable', '--required', 'two'],
  ]) {
    const { code, err } = await run('dual-control', ...args);
    assert.equal(code, 2, err);
    assert.match(err, /is not a whole number/);
  }
  assert.equal(
    (JSON.parse((await run('dual-control', 'show', '--json')).out) as { version: number }).version,
    0,
  );
});

test('nothing is signed or made when its output can not be written', async () => {
  const before = await inventory();
  const taken = join(dir, 'taken');
  await writeFile(taken, 'x');
  for (const args of [
    ['mint', '--spiffe-id', 'spiffe://mesh.test/by-hand', '--write', join(dir, 'missing')],
    ['mint', '--spiffe-id', 'spiffe://mesh.test/by-hand', '--write', taken],
    ['authority', 'csr', '--out', taken],
  ])
    assert.equal((await run(...args)).code, 2);
  assert.equal(await inventory(), before);
  assert.equal((await run('authority', 'list', '--state', 'preparing')).out, 'no authorities\n');
});

test('an incomplete entry or an empty change is refused before the server is asked', async () => {
  const parent = ['--parent-id', 'spiffe://mesh.test/meshca/agent/node-1'];
  assert.match(
    (await run('entry', 'create', '--spiffe-id', 'spiffe://mesh.test/a', ...parent)).err,
    /--selector/,
  );
  assert.match(
    (
      await run(
        'entry',
        'create',
        '--spiffe-id',
        'spiffe://mesh.test/a',
        '--selector',
        'unix:uid:1',
      )
    ).err,
    /--parent-id/,
  );
  assert.equal(
    (
      await run(
        'entry',
        'create',
        '--id',
        'a',
        '--spiffe-id',
        'spiffe://mesh.test/a',
        '--selector',
        'unix:uid:1',
        ...parent,
      )
    ).code,
    0,
  );
  const { revision } = JSON.parse((await run('entry', 'show', 'a', '--json')).out) as {
    revision: number;
  };
  assert.equal((await run('entry', 'update', 'a')).code, 2);
  assert.equal(
    (JSON.parse((await run('entry', 'show', 'a', '--json')).out) as { revision: number }).revision,
    revision,
  );
  assert.equal(
    (await run('entry', 'list', '--spiffe-id', 'spiffe://mesh.test/b')).out,
    'no entry matches\n',
  );
});

test('a selector that no agent makes is accepted, with a note that names the nearest', async () => {
  const made = await run(
    'entry',
    'create',
    '--spiffe-id',
    'spiffe://mesh.test/typo',
    '--parent-id',
    'spiffe://mesh.test/meshca/agent/node-1',
    '--selector',
    'unix:usr:www-data',
  );
  assert.equal(made.code, 0);
  assert.match(made.err, /did you mean unix:user\?/);
});

test('a wrong command line names the help; with --json it is one object', async () => {
  assert.match((await run('entry', 'lst')).err, /meshca entry --help/);
  assert.match(
    (await run('authority', 'rotate', '--share', '2')).err,
    /meshca authority rotate --help/,
  );
  for (const args of [
    ['entry', 'lst'],
    ['entry', 'create'],
    ['entry'],
    ['entry', 'list', '--nope'],
    ['certificate', 'list', '--limit', 'x'],
  ]) {
    const { code, out, err } = await run(...args, '--json');
    assert.equal(code, 2);
    assert.equal(out, '');
    assert.equal((JSON.parse(err) as { error: { code: string } }).error.code, 'INVALID_REQUEST');
  }
  assert.match((await run('entry', 'list', '--help')).out, /--json[\s\S]*--server-socket/);
});

test('a wrong key, certificate, bundle or address for --server gets its own error', async () => {
  assert.equal(
    (await run('mint', '--admin', '--spiffe-id', 'spiffe://mesh.test/admin', '--write', dir)).code,
    0,
  );
  const [svid, key, bundle] = ['svid.pem', 'key.pem', 'bundle.pem'].map((name) =>
    join(dir, name),
  ) as [string, string, string];
  const text = join(dir, 'text');
  await writeFile(text, 'text');
  const otherKey = join(dir, 'other.pem');
  await writeFile(
    otherKey,
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
      format: 'pem',
      type: 'pkcs8',
    }),
  );
  const address = `127.0.0.1:${server.server.port}`;
  const remote = async (
    at: string,
    ...paths: readonly [string, string, string]
  ): Promise<string> => {
    const { code, err } = await run(
      '--server',
      at,
      '--cert',
      paths[0],
      '--key',
      paths[1],
      '--bundle',
      paths[2],
      'status',
    );
    return `${code} ${/error ([A-Z_]+)/.exec(err)?.[1]}`;
  };
  assert.equal(await remote(address, svid, key, bundle), '4 ROLE_MISSING');
  const odd = join(dir, 'odd.pem');
  for (const change of [
    (pem: string) => pem.replaceAll('\n', '\r'),
    (pem: string) => `a bundle\n${pem.replaceAll('-----\n', '-----  \n')}`,
  ]) {
    await writeFile(odd, change(await readFile(bundle, 'utf8')));
    assert.equal(await remote(address, svid, key, odd), '4 ROLE_MISSING');
  }
  assert.equal(await remote(address, text, key, bundle), '2 SVID_INVALID');
  assert.equal(await remote(address, svid, text, bundle), '2 INVALID_REQUEST');
  assert.equal(await remote(address, svid, otherKey, bundle), '2 INVALID_REQUEST');
  assert.equal(await remote(address, svid, key, text), '2 INVALID_REQUEST');
  assert.equal(await remote(address, svid, key, svid), '4 CHAIN_UNTRUSTED');
  assert.equal(await remote('127.0.0.1', svid, key, bundle), '2 INVALID_REQUEST');
  assert.equal(await remote('no-such-host.invalid:8443', svid, key, bundle), '5 UNREACHABLE');
});

test('commands take the short ID of an authority that the CLI shows', async () => {
  const [root] = JSON.parse((await run('authority', 'list', '--kind', 'root', '--json')).out) as {
    id: string;
  }[];
  const short = (root?.id ?? '').slice(-12);
  assert.match((await run('authority', 'show', short)).out, new RegExp(`id +${root?.id}`));
  assert.match((await run('certificate', 'list', '--authority', short)).out, /spiffe:/);
  assert.equal((await run('authority', 'show', 'ffffffffffff')).code, 3);
});

test('completion offers the options that every command takes', async () => {
  assert.match(
    (await run('completion', 'bash')).out,
    /" entry list"\) echo "[^"]*--limit[^"]*--json/,
  );
});

test('the configuration of an agent is not taken for a server, and the error says so', async () => {
  let err = '';
  const validate: CliContext['dependencies']['validate'] = async (kind) =>
    kind === 'agent' ? ok({ summary: [] }) : fail('CONFIG_INVALID', 'unknown key serverAddress');
  const context: CliContext = {
    env: {},
    out: () => {},
    err: (text) => void (err += text),
    readStdin: async () => '',
    ask: async () => undefined,
    terminal: { isTerminal: false, columns: 140, color: false },
    signal: new AbortController().signal,
    now: () => 0,
    dependencies: { validate } as CliContext['dependencies'],
  };
  assert.equal(await runCli(['validate', 'agent.yaml'], context), 2);
  assert.match(err, /add --agent/);
});
