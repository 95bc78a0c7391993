import { spawn, spawnSync, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PkiError } from '../src/common/errors/index.ts';
import type { DemoHome, RunRecord } from './home.ts';

export interface ChildSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid?: number;
  readonly gid?: number;
  readonly ipc?: boolean;
  /** The kernel sends it SIGTERM when the demonstration has ended in any way. */
  readonly tethered?: boolean;
  /** Appends to the log of the process that this one replaces. */
  readonly again?: boolean;
  /** Called when it ends by itself. */
  readonly onUnexpectedExit: (error: PkiError) => void;
}

/** util-linux: PR_SET_PDEATHSIG, then exec, so that the process keeps its ID. */
const tether = ['setpriv', '--pdeathsig', 'TERM', '--'] as const;
let tethers: boolean | undefined;

/**
 * Whether processes can be tethered. If not, the next demonstration ends those that a killed one
 * left.
 */
export const canTether = (): boolean =>
  (tethers ??=
    spawnSync(tether[0], [...tether.slice(1), process.execPath, '-v'], {
      stdio: 'ignore',
      timeout: 10_000,
    }).status === 0);

/** A process of the demonstration, with its log in a file. */
export class Child {
  readonly name: string;
  readonly process: ChildProcess;
  readonly logPath: string;
  readonly exited: Promise<void>;
  #stopping = false;
  #ended = false;

  constructor(home: DemoHome, record: RunRecord, spec: ChildSpec) {
    this.name = spec.name;
    this.logPath = join(home.log, `${spec.name}.log`);
    const log = openSync(this.logPath, spec.again === true ? 'a' : 'w', 0o600);
    const options: SpawnOptions = {
      // a group of its own, so that Ctrl-C reaches only the demonstration, which ends its children
      // in order
      detached: true,
      stdio: spec.ipc === true ? ['ignore', log, log, 'ipc'] : ['ignore', log, log],
      env: { ...spec.env },
      ...(spec.uid === undefined ? {} : { uid: spec.uid }),
      ...(spec.gid === undefined ? {} : { gid: spec.gid }),
    };
    const [command, ...args] =
      spec.tethered === true && canTether()
        ? [...tether, spec.command, ...spec.args]
        : [spec.command, ...spec.args];
    this.process = spawn(command as string, args, options);
    closeSync(log);
    const { pid } = this.process;
    if (pid !== undefined) record.add(spec.name, pid);
    this.exited = new Promise((resolve) => {
      const ended = (how: string): void => {
        if (this.#ended) return;
        this.#ended = true;
        if (pid !== undefined) record.remove(pid);
        resolve();
        if (!this.#stopping)
          spec.onUnexpectedExit(
            new PkiError('DEMO_PART_FAILED', `${spec.name} ended (${how})`, {
              detail: { log: this.logPath },
            }),
          );
      };
      this.process.once('error', (error) => ended(error.message));
      this.process.once('exit', (code, signal) => ended(signal ?? `exit ${code}`));
    });
  }

  get alive(): boolean {
    return !this.#ended;
  }

  /** Sends SIGKILL, for a case in which nothing can be waited for. */
  kill(): void {
    this.#stopping = true;
    if (!this.#ended) this.process.kill('SIGKILL');
  }

  /** Sends SIGTERM, and SIGKILL if it does not end in time. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    if (this.#ended) return;
    this.process.kill('SIGTERM');
    const timer = setTimeout(() => this.process.kill('SIGKILL'), graceMs);
    await this.exited;
    clearTimeout(timer);
  }
}

/** The last lines of a log for a person. JSON lines are reduced to their messages. */
export function lastLines(path: string, count: number): readonly string[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return [];
  }
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-count)
    .map(readable);
}

function readable(line: string): string {
  if (!line.startsWith('{')) return line;
  try {
    const { level, msg, code, next, err } = JSON.parse(line) as {
      level?: number | string;
      msg?: string;
      code?: string;
      next?: string;
      err?: { message?: string; code?: string };
    };
    const parts = [
      level,
      code ?? err?.code,
      msg,
      err?.message,
      next === undefined ? undefined : `→ ${next}`,
    ];
    return parts.filter((part) => part !== undefined && part !== '').join(' ');
  } catch {
    return line;
  }
}

/** Runs a command to its end and returns its output; the error carries what it wrote. */
export function run(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  signal?: AbortSignal,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...env },
      detached: true,
      ...(signal === undefined ? {} : { signal }),
    });
    let out = '';
    let errors = '';
    child.stdout?.on('data', (bytes: Buffer) => (out += bytes.toString()));
    child.stderr?.on('data', (bytes: Buffer) => (errors += bytes.toString()));
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(out);
      else
        reject(
          new PkiError(
            'DEMO_PART_FAILED',
            `${args.slice(1, 4).join(' ')} failed (exit ${code}): ` +
              `${(errors + out).trim().split('\n').slice(-6).join('\n')}`,
          ),
        );
    });
  });
}
