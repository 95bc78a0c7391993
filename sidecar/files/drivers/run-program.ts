import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { PkiError } from '../../../src/common/errors/index.ts';
import type { Clock } from '../../../src/common/runtime/index.ts';
import { checkProgram } from './program-check.ts';
import { signalGroup } from './system-calls.ts';

export interface ProgramRun {
  /** The program by its absolute path, and its arguments. No shell reads them. */
  readonly argv: readonly string[];
  /** On its standard input. */
  readonly input: string;
  /** All of its environment beside PATH and LANG. */
  readonly environment: Readonly<Record<string, string>>;
  /** Bytes of each output that are kept. Undefined: 64 KiB. */
  readonly maximumOutput?: number;
}

export interface ProgramEnd {
  /** Undefined: a signal ended it. */
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

const usualOutput = 64 * 1024;
/** How long a program has between SIGTERM and SIGKILL. */
const graceMs = 2_000;
/** How long output is awaited of a program that has ended: others may hold its pipes open. */
const outputMs = 500;
const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Runs a program to its end, in a process group of its own. When the signal aborts, the group gets
 * SIGTERM and after 2 s SIGKILL, and the promise rejects once the program is gone. What it prints
 * past the limit is dropped. Throws DRIVER_FAILED if it can not be started.
 */
export async function runProgram(
  run: ProgramRun,
  clock: Clock,
  signal: AbortSignal,
): Promise<ProgramEnd> {
  signal.throwIfAborted();
  const [program, ...rest] = run.argv as [string, ...string[]];
  checkProgram(program);
  const child = spawn(program, rest, {
    cwd: '/',
    detached: true,
    env: { PATH: path, LANG: 'C.UTF-8', ...run.environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const stdout = collect(child.stdout, run.maximumOutput ?? usualOutput);
  const stderr = collect(child.stderr, usualOutput);
  // a program that does not read its input has closed the pipe
  child.stdin.on('error', () => {});
  child.stdin.end(run.input);
  const exitCode = await endOf(child, program, clock, signal);
  await Promise.race([Promise.all([stdout.whole, stderr.whole]), clock.sleep(outputMs)]);
  child.stdout.destroy();
  child.stderr.destroy();
  signal.throwIfAborted();
  return { exitCode, stdout: stdout.text(), stderr: stderr.text() };
}

async function endOf(
  child: ChildProcess,
  program: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<number | undefined> {
  let cancelKill = (): void => {};
  const group = child.pid;
  const stop = (): void => {
    if (group === undefined) return;
    signalGroup(group, 'SIGTERM');
    cancelKill = clock.after(graceMs, () => signalGroup(group, 'SIGKILL'));
  };
  signal.addEventListener('abort', stop, { once: true });
  try {
    const [exitCode] = (await once(child, 'exit')) as [number | null];
    // its children may have held on; the group keeps its number as long as one of them lives
    if (signal.aborted && group !== undefined) signalGroup(group, 'SIGKILL');
    return exitCode ?? undefined;
  } catch (thrown) {
    const reason = (thrown as NodeJS.ErrnoException).code ?? 'unknown';
    throw new PkiError('DRIVER_FAILED', `${program} could not be started: ${reason}`, {
      cause: thrown,
    });
  } finally {
    signal.removeEventListener('abort', stop);
    cancelKill();
  }
}

function collect(
  stream: Readable,
  maximumOutput: number,
): { readonly whole: Promise<void>; text(): string } {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    if (size < maximumOutput) chunks.push(chunk.subarray(0, maximumOutput - size));
    size += chunk.length;
  });
  const whole = new Promise<void>((resolve) => {
    stream.once('close', resolve);
    stream.on('error', () => resolve());
  });
  return { whole, text: () => Buffer.concat(chunks).toString('utf8') };
}
