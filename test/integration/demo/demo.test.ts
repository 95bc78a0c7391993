import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { canTether } from '../../../demo/children.ts';
import { until } from '../../support/until.ts';

// The life of the demonstration as a program, with a stand-in for the product: the real one is
// played by its drill.

const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const program = fileURLToPath(new URL(`../../../demo/main${extension}`, import.meta.url));
const product = fileURLToPath(new URL(`../../support/fake-product${extension}`, import.meta.url));

interface Run {
  readonly child: ChildProcess;
  readonly lines: string[];
  readonly errors: string[];
  readonly exited: Promise<number | null>;
}

let home: string;
const runs: Run[] = [];
before(async () => {
  home = await mkdtemp(join(tmpdir(), 'meshca-demo-'));
  await chmod(home, 0o711);
});
after(async () => {
  // a failed test must leave nothing running either
  for (const { child, exited } of runs) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await exited;
  }
  await rm(home, { recursive: true, force: true });
});

function start(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Run {
  const child = spawn(process.execPath, [program, '--home', home, '--product', product, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  const [lines, errors]: [string[], string[]] = [[], []];
  child.stdout.on('data', (bytes: Buffer) => lines.push(...bytes.toString().split('\n')));
  child.stderr.on('data', (bytes: Buffer) => errors.push(...bytes.toString().split('\n')));
  const run = {
    child,
    lines,
    errors,
    exited: once(child, 'close').then(([code]) => code as number | null),
  };
  runs.push(run);
  return run;
}

async function seen({ lines, errors, child }: Run, text: string, times = 1): Promise<void> {
  const said = (): boolean => lines.filter((line) => line.includes(text)).length >= times;
  await until(() => said() || child.exitCode !== null).catch(() => {});
  assert.ok(said(), `"${text}" was not said: ${[...lines, ...errors].join('\n')}`);
}

/** Process IDs of the parts, as the run recorded them. */
async function parts(): Promise<readonly number[]> {
  const { children } = JSON.parse(await readFile(join(home, 'run', 'demo.json'), 'utf8')) as {
    children: readonly { pid: number }[];
  };
  return children.map(({ pid }) => pid);
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test('a second demo in one folder is refused, a dead server is restarted, and Ctrl-C ends all with 0', async () => {
  const demo = start();
  await seen(demo, 'caller renewed (2)');
  const second = start();
  assert.equal(await second.exited, 1);
  assert.match(second.errors.join('\n'), /DEMO_RUNNING/);
  assert.equal(demo.child.exitCode, null);
  const [server] = (await parts()) as [number];
  process.kill(server, 'SIGKILL');
  await seen(demo, 'starting it again');
  await seen(demo, 'server ready', 2);
  const pids = await parts();
  assert.equal(pids.length, 4);
  assert.ok(!pids.includes(server));
  demo.child.kill('SIGINT');
  assert.equal(await demo.exited, 0);
  assert.deepEqual(pids.filter(alive), []);
  assert.match(demo.lines.join('\n'), /failed handshakes 0/);
  assert.doesNotMatch(demo.lines.join('\n'), /failed handshakes [1-9]/);
});

test('a demonstration that was killed is cleaned up by the next one, which is warm and prints its figures', async () => {
  const killed = start();
  await seen(killed, 'first request in mTLS');
  const pids = await parts();
  killed.child.kill('SIGKILL');
  await killed.exited;
  // with setpriv the kernel ends them; without it the next one does
  if (!canTether()) assert.ok(pids.some(alive), 'server and agent outlive a killed demonstration');
  const next = start(['--seconds', '5', '--json']);
  assert.equal(await next.exited, 0);
  assert.deepEqual(pids.filter(alive), []);
  const figures = JSON.parse(next.lines.join('')) as {
    seconds: number;
    renewals: number;
    requests: number;
    failedHandshakes: number;
  };
  assert.deepEqual(Object.keys(figures), ['seconds', 'renewals', 'requests', 'failedHandshakes']);
  assert.ok(
    figures.seconds > 0 && figures.renewals >= 2 && figures.requests > 0,
    JSON.stringify(figures),
  );
  assert.equal(figures.failedHandshakes, 0);
});

test('a part that fails ends the demonstration with the code from its log', async () => {
  const demo = start([], { FAKE_SERVER_FAILS: '1' });
  assert.equal(await demo.exited, 1);
  assert.match(demo.errors.join('\n'), /DEMO_PART_FAILED[^]*HSM_PIN_WRONG/);
});

test('a demo whose folder is deleted ends all its parts, says why, and leaves a newer demo alone', async () => {
  const first = start();
  await seen(first, 'first request in mTLS');
  const pids = await parts();
  assert.equal(pids.length, 4);
  await rm(home, { recursive: true, force: true });
  const second = start();
  assert.equal(await first.exited, 1);
  assert.deepEqual(pids.filter(alive), []);
  assert.match(first.errors.join('\n'), /DEMO_HOME_GONE/);

  await seen(second, 'first request in mTLS');
  const others = await parts();
  second.child.kill('SIGKILL');
  await rm(home, { recursive: true, force: true });
  await second.exited;
  // by setpriv, which every Debian has
  assert.ok(canTether());
  await until(() => !others.some(alive), 'the parts end');
});
