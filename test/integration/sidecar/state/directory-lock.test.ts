import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { ReloadRequests, silentLogger } from '../../../../src/common/runtime/index.ts';
import { startAgent } from '../../../../sidecar/compose.ts';
import { agentEnvironment } from '../../../support/agent-environment.ts';
import { agentConfigSchema } from '../../../../sidecar/config.ts';
import { runAgent } from '../../../../sidecar/main.ts';
import { lockDirectory } from '../../../../sidecar/state/index.ts';

const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const holder = fileURLToPath(new URL(`./lock-holder${extension}`, import.meta.url));
const me = { pid: process.pid, now: Math.floor(Date.now() / 1000) };

async function directoryFor(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-lock-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

test("a locked directory is refused with the holder's ID; after kill -9 its children keep no lock", async (context) => {
  const directory = join(await directoryFor(context), 'data');
  const child = spawn(process.execPath, [holder, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const line = async (): Promise<string> => String((await lines.next()).value);
  assert.equal(await line(), 'held');
  const grandchild = Number(await line());
  context.after(() => process.kill(grandchild, 'SIGKILL'));

  const refused: unknown = await lockDirectory(directory, me).catch((thrown: unknown) => thrown);
  assert.ok(refused instanceof PkiError);
  assert.deepEqual(
    [refused.code, refused.detail['pid'], refused.grade],
    ['STATE_LOCKED', child.pid, 'fatal'],
  );
  assert.match(refused.next, /dataDir/);

  child.kill('SIGKILL');
  await exited;
  process.kill(grandchild, 0);
  assert.deepEqual(await readdir(directory), ['agent.lock']);
  const lock = await lockDirectory(directory, me);
  assert.equal(
    (JSON.parse(await readFile(join(directory, 'agent.lock'), 'utf8')) as { pid: number }).pid,
    process.pid,
  );
  lock.release();
});

test('what stands in the file decides nothing: only the lock does', async (context) => {
  const directory = await directoryFor(context);
  await writeFile(join(directory, 'agent.lock'), JSON.stringify({ pid: 1, since: me.now }));
  const lock = await lockDirectory(directory, me);
  await writeFile(join(directory, 'agent.lock'), 'what somebody else put there');
  await assert.rejects(lockDirectory(directory, me), { code: 'STATE_LOCKED' });
  lock.release();
  (await lockDirectory(directory, me)).release();
});

test('a link in the place of the file is not followed', async (context) => {
  const directory = await directoryFor(context);
  const elsewhere = join(directory, 'elsewhere');
  await mkdir(join(directory, 'data'));
  await writeFile(elsewhere, 'untouched');
  await symlink(elsewhere, join(directory, 'data', 'agent.lock'));
  await assert.rejects(lockDirectory(join(directory, 'data'), me), { code: 'STATE_UNUSABLE' });
  assert.equal(await readFile(elsewhere, 'utf8'), 'untouched');
});

test('a second agent on a data directory ends with code and advice, and starts after the first ended', async (context) => {
  const directory = await directoryFor(context);
  const config = (name: string): object => ({
    trustDomain: 'td',
    serverAddress: '127.0.0.1:1',
    dataDir: join(directory, 'data'),
    bootstrap: { rootFingerprint: 'ab'.repeat(32) },
    attestation: { joinToken: { token: 'none' } },
    workloadApi: { socketPath: join(directory, `w-${name}`) },
    localApi: { socketPath: join(directory, `l-${name}`) },
    ops: { port: 0 },
  });
  const first = await startAgent(agentEnvironment(agentConfigSchema.parse(config('1'))));
  let over = false;
  context.after(async () => {
    if (!over) await first[Symbol.asyncDispose]();
  });
  // what the first is about to put in place
  const underWay = join(directory, 'data', `.${'0'.repeat(16)}.tmp`);
  await writeFile(underWay, 'half');
  const configPath = join(directory, 'agent.json');
  await writeFile(configPath, JSON.stringify(config('2')));
  const run = async (
    signal: AbortSignal,
  ): Promise<{ readonly code: number; readonly text: string }> => {
    const stderr = new PassThrough();
    let text = '';
    stderr.on('data', (data: Buffer) => void (text += data.toString()));
    const code = await runAgent({
      reloads: new ReloadRequests(),
      configPath,
      env: {},
      stdout: new PassThrough(),
      stderr,
      signal,
      logger: silentLogger,
    });
    return { code, text };
  };
  const refused = await run(new AbortController().signal);
  assert.equal(refused.code, 1);
  assert.match(
    refused.text,
    new RegExp(`^error STATE_LOCKED: process ${process.pid} runs an agent on .*\nnext: .*dataDir`),
  );
  assert.equal(await readFile(underWay, 'utf8'), 'half');
  over = true;
  await first[Symbol.asyncDispose]();
  // aborted at once: it starts, and ends cleanly
  assert.deepEqual(await run(AbortSignal.abort()), { code: 0, text: '' });
});
