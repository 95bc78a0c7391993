import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
} from 'node:fs';
import { PkiError } from '../../../src/common/errors/index.ts';
import type { Clock } from '../../../src/common/runtime/index.ts';
import { parseStat } from '../../attest/proc-parse.ts';
import { holdProcess, type HeldProcess, type SignalName } from './system-calls.ts';

export interface PidFile {
  readonly path: string;
  /** The program that the process must run, as an absolute path. */
  readonly executable: string;
}

export interface NamedProcess extends Disposable {
  readonly pid: number;
  readonly held: HeldProcess;
}

/** Of /proc/<pid>/stat, on every Linux for x64 and arm64 (USER_HZ). */
const ticksPerSecond = 100;
/** The times of files and of processes come from different clocks. */
const toleranceSeconds = 2;

/**
 * The process that a pid file names, held so that a later process with the same number is never
 * meant. It must run the executable, and must have started before the file was written. Undefined if
 * there is no file or no such process: the server does not run. Throws DRIVER_FAILED if the process
 * is another one.
 */
export function namedProcess(file: PidFile, clock: Clock): NamedProcess | undefined {
  const [pid, fileAge] = readPidFile(file.path, clock) ?? [0, 0];
  if (pid === 0) return undefined;
  const held = holdProcess(pid);
  if (held === undefined) return undefined;
  try {
    const reason = mismatch(pid, file.executable, fileAge);
    // what was read is of this process only if it lives still
    if (held.exited) {
      held[Symbol.dispose]();
      return undefined;
    }
    if (reason !== undefined) throw another(file.path, pid, reason);
  } catch (thrown) {
    held[Symbol.dispose]();
    throw thrown;
  }
  return { pid, held, [Symbol.dispose]: () => held[Symbol.dispose]() };
}

/** Returns false if the process has ended. Throws DRIVER_FAILED if the agent may not signal it. */
export function sendSignal({ pid, held }: NamedProcess, name: SignalName): boolean {
  if (held.signal(name)) return true;
  if (held.exited) return false;
  throw new PkiError('DRIVER_FAILED', `the agent may not send ${name} to process ${pid}`, {
    next: 'Run the agent as root or as the user of the server, or give it the right CAP_KILL.',
  });
}

/** More than the number stands there, as in PostgreSQL's postmaster.pid. */
const maximumBytes = 4_096;

/** The number in the first line, and the age of the file in seconds. */
function readPidFile(path: string, clock: Clock): readonly [number, number] | undefined {
  let read: readonly [string, number];
  try {
    read = readStart(path);
  } catch (thrown) {
    if (thrown instanceof PkiError) throw thrown;
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new PkiError('DRIVER_FAILED', `the pid file ${path} can not be read (${code})`, {
      cause: thrown,
    });
  }
  const [text, modifiedMs] = read;
  const pid = Number(/^\s*([1-9]\d{0,9})\s*(\n|$)/.exec(text)?.[1]);
  if (!(pid > 1)) throw new PkiError('DRIVER_FAILED', `${path} holds no process number`);
  return [pid, (clock.nowMs() - modifiedMs) / 1000];
}

/** The file may belong to the server. A FIFO in its place would hold up the whole agent. */
function readStart(path: string): readonly [text: string, modifiedMs: number] {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const found = fstatSync(file);
    if (!found.isFile())
      throw new PkiError('DRIVER_FAILED', `the pid file ${path} is no plain file`);
    const start = Buffer.alloc(maximumBytes);
    return [start.toString('latin1', 0, readSync(file, start)), found.mtimeMs];
  } finally {
    closeSync(file);
  }
}

/** Why the process is not the one that the file means. */
function mismatch(pid: number, executable: string, fileAge: number): string | undefined {
  let runs: string;
  let processAge: number;
  try {
    runs = readlinkSync(`/proc/${pid}/exe`);
    const stat = parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
    processAge = uptime - Number(stat?.startTime) / ticksPerSecond;
  } catch (thrown) {
    return `it can not be looked at (${(thrown as NodeJS.ErrnoException).code ?? thrown})`;
  }
  // after an upgrade of its package a server runs the file that was there before
  const program = runs.replace(/ \(deleted\)$/, '');
  if (program !== executable && program !== resolved(executable))
    return `it runs ${program}, not ${executable}`;
  if (!(processAge >= fileAge - toleranceSeconds)) return 'it started after the file was written';
  return undefined;
}

function resolved(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

const another = (path: string, pid: number, reason: string): PkiError =>
  new PkiError('DRIVER_FAILED', `${path} names process ${pid}, which gets no signal: ${reason}`, {
    next: 'Name the pid file and the program of the server in the settings of the driver. If the server is gone, remove its pid file. If the clock was set meanwhile, restart the server.',
  });
