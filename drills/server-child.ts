import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { patienceMs } from '../test/support/until.ts';
import { childEntry } from './child-entry.ts';
import type {
  Armed,
  FromServer,
  LoopFigures,
  RevocationFill,
  ServerProcessOptions,
  ToServer,
} from './server-messages.ts';

export interface StartOptions extends ServerProcessOptions {
  /** A program before node, for instance strace with its options. */
  readonly under?: readonly string[];
}

export interface ServerProcess {
  readonly pid: number;
  /** Resolves when all listeners are open; rejects with its error when it ends before. */
  readonly ready: Promise<void>;
  /** How it ended: a signal, or `exit N`. */
  readonly exited: Promise<string>;
  alive(): boolean;
  /** When `ready` resolved, monotonic ms of this process. */
  readyAtMs(): number;
  arm(armed: Armed): void;
  invalidateSessions(): void;
  signerPids(): Promise<readonly number[]>;
  /** Writes a long log. Resolves when it is durable. */
  fill(fill: RevocationFill): Promise<void>;
  /** How long the event loop was blocked since the last call, or since the process began. */
  loop(): Promise<LoopFigures>;
  /** Steps at which a signer was killed by the hook. */
  readonly signerKills: readonly string[];
  /**
   * SIGKILL; resolves when the server is gone and its signers are too. False if a signer outlived
   * it (it is ended then).
   */
  kill(): Promise<boolean>;
  /** SIGTERM, SIGKILL when patience ends. */
  stop(): Promise<string>;
  /** After a death that was not by `kill`: are its children gone? */
  childrenGone(): Promise<boolean>;
}

const entry = childEntry('server-process');

export const startServerProcess = (
  configPath: string,
  logPath: string,
  options: StartOptions,
): ServerProcess => new ServerChild(spawnServer(configPath, logPath, options), logPath);

function spawnServer(
  configPath: string,
  logPath: string,
  { under = [], ...options }: StartOptions,
): SpawnedServer {
  const log = openSync(logPath, 'a', 0o600);
  const [command, ...args] = [
    ...under,
    process.execPath,
    entry,
    configPath,
    JSON.stringify(options),
  ] as unknown as readonly [string, ...string[]];
  const child = spawn(command, [...args], { stdio: ['ignore', log, log, 'ipc'], detached: true });
  closeSync(log);
  const { pid } = child;
  if (pid === undefined) {
    child.on('error', () => undefined);
    throw new Error(
      `${command} could not be started: "npm run setup -- --for=test" installs what is missing`,
    );
  }
  return { child, pid };
}

interface SpawnedServer {
  readonly child: ChildProcess;
  readonly pid: number;
}

/** Owner of the state of one server process, and of the PIDs of its signers. */
class ServerChild implements ServerProcess {
  readonly pid: number;
  readonly ready: Promise<void>;
  readonly exited: Promise<string>;
  readonly signerKills: string[] = [];
  readonly #child: ChildProcess;
  readonly #logPath: string;
  readonly #ready = Promise.withResolvers<void>();
  readonly #waiting: ((pids: readonly number[]) => void)[] = [];
  readonly #asking: ((figures: LoopFigures) => void)[] = [];
  #filling: ((failure: string) => void) | undefined;
  readonly #seen = new Set<number>();
  readonly #looking: NodeJS.Timeout;
  /** Far above the duration of a start: a server that hangs must not hang the drill. */
  readonly #startLimit: NodeJS.Timeout;
  #state: 'starting' | 'ready' | 'ended' = 'starting';
  #readyAtMs = Number.NaN;
  #failure = '';

  constructor({ child, pid }: SpawnedServer, logPath: string) {
    this.pid = pid;
    this.#child = child;
    this.#logPath = logPath;
    this.ready = this.#ready.promise;
    this.ready.catch(() => undefined);
    this.#looking = setInterval(() => this.#look(), 50);
    this.#startLimit = setTimeout(() => {
      this.#failure = `it was not ready within ${patienceMs / 1000} s`;
      child.kill('SIGKILL');
    }, patienceMs);
    child.on('message', (message: FromServer) => this.#receive(message));
    child.on('error', (error) => (this.#failure = error.message));
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(this.#end(signal ?? `exit ${code}`)));
    });
  }

  alive(): boolean {
    return this.#state !== 'ended';
  }

  readyAtMs(): number {
    return this.#readyAtMs;
  }

  arm(armed: Armed): void {
    this.#tell({ type: 'arm', arm: armed });
  }

  invalidateSessions(): void {
    this.#tell({ type: 'invalidate-sessions' });
  }

  signerPids(): Promise<readonly number[]> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#tell({ type: 'signer-pids' });
    });
  }

  fill(fill: RevocationFill): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#filling = (failure) => (failure === '' ? resolve() : reject(new Error(failure)));
      this.#tell({ type: 'fill', fill });
    });
  }

  loop(): Promise<LoopFigures> {
    return new Promise((resolve) => {
      this.#asking.push(resolve);
      this.#tell({ type: 'loop' });
    });
  }

  async kill(): Promise<boolean> {
    if (this.alive()) {
      this.#look();
      this.#child.kill('SIGKILL');
    }
    await this.exited;
    return this.childrenGone();
  }

  async stop(): Promise<string> {
    if (this.alive()) this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), patienceMs);
    const how = await this.exited;
    clearTimeout(timer);
    return how;
  }

  async childrenGone(): Promise<boolean> {
    for (const endMs = performance.now() + patienceMs; performance.now() < endMs; ) {
      if (![...this.#seen].some(isAlive)) return true;
      await sleep(20);
    }
    for (const pid of this.#seen) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    return false;
  }

  #look(): void {
    for (const pid of childrenOf(this.pid)) this.#seen.add(pid);
  }

  #receive(message: FromServer): void {
    if (message.type === 'ready') {
      clearTimeout(this.#startLimit);
      this.#state = 'ready';
      this.#readyAtMs = performance.now();
      this.#ready.resolve();
    }
    if (message.type === 'failed') this.#failure = `${message.code}: ${message.message}`;
    if (message.type === 'signer-killed') this.signerKills.push(message.step);
    if (message.type === 'signer-pids') this.#waiting.shift()?.(message.pids);
    if (message.type === 'filled') this.#filling?.(message.failure);
    if (message.type === 'loop') this.#asking.shift()?.(message.figures);
  }

  #end(how: string): string {
    clearInterval(this.#looking);
    clearTimeout(this.#startLimit);
    this.#state = 'ended';
    this.#filling?.(`the server ended: ${how}`);
    const failure = this.#failure === '' ? '' : `: ${this.#failure}`;
    this.#ready.reject(
      new Error(
        `the server ended (${how}) before it was ready${failure}; the end of its log: ${tail(this.#logPath)}`,
      ),
    );
    return how;
  }

  #tell(message: ToServer): void {
    if (this.#child.connected) this.#child.send(message);
  }
}

/** Process IDs of the children of `pid`; none if it is gone. */
export function childrenOf(pid: number): readonly number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter((text) => text !== '')
      .map(Number);
  } catch {
    return [];
  }
}

export const isAlive = (pid: number): boolean => !['', 'Z', 'X'].includes(stateOf(pid));

/** The letter of /proc (R, S, D, T, Z), or nothing if there is no such process. */
export function stateOf(pid: number): string {
  try {
    return /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
  } catch {
    return '';
  }
}

export const tail = (path: string, length = 1500): string => {
  try {
    return readFileSync(path, 'utf8').slice(-length);
  } catch {
    return '';
  }
};
