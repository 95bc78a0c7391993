import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { patienceMs } from '../test/support/until.ts';
import type { Armed, FromServer, ServerProcessOptions, ToServer } from './server-messages.ts';

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

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const entry = fileURLToPath(new URL(`./server-process.${extension}`, import.meta.url));

export function startServerProcess(
  configPath: string,
  logPath: string,
  { under = [], ...options }: StartOptions,
): ServerProcess {
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

  let state: 'starting' | 'ready' | 'ended' = 'starting';
  let readyAtMs = Number.NaN;
  let failure = '';
  const signerKills: string[] = [];
  const ready = Promise.withResolvers<void>();
  ready.promise.catch(() => undefined);
  const waiting: ((pids: readonly number[]) => void)[] = [];
  const seen = new Set<number>();
  const look = (): void => {
    for (const each of childrenOf(pid)) seen.add(each);
  };
  const looking = setInterval(look, 50);

  child.on('message', (message: FromServer) => {
    if (message.type === 'ready') {
      clearTimeout(startLimit);
      state = 'ready';
      readyAtMs = performance.now();
      ready.resolve();
    }
    if (message.type === 'failed') failure = `${message.code}: ${message.message}`;
    if (message.type === 'signer-killed') signerKills.push(message.step);
    if (message.type === 'signer-pids') waiting.shift()?.(message.pids);
  });
  child.on('error', (error) => (failure = error.message));
  // far above what a start takes: a server that hangs must not hang the drill
  const startLimit = setTimeout(() => {
    failure = `it was not ready within ${patienceMs / 1000} s`;
    child.kill('SIGKILL');
  }, patienceMs);
  const exited = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => {
      clearInterval(looking);
      clearTimeout(startLimit);
      state = 'ended';
      const how = signal ?? `exit ${code}`;
      ready.reject(
        new Error(
          `the server ended (${how}) before it was ready${failure === '' ? '' : `: ${failure}`}; the end of its log: ${tail(logPath)}`,
        ),
      );
      resolve(how);
    });
  });
  const tell = (message: ToServer): void => {
    if (child.connected) child.send(message);
  };

  const childrenGone = async (): Promise<boolean> => {
    for (const endMs = performance.now() + patienceMs; performance.now() < endMs; ) {
      if (![...seen].some(isAlive)) return true;
      await sleep(20);
    }
    for (const each of seen) if (isAlive(each)) process.kill(each, 'SIGKILL');
    return false;
  };

  return {
    pid,
    ready: ready.promise,
    exited,
    signerKills,
    childrenGone,
    alive: () => state !== 'ended',
    readyAtMs: () => readyAtMs,
    arm: (armed) => tell({ type: 'arm', arm: armed }),
    invalidateSessions: () => tell({ type: 'invalidate-sessions' }),
    signerPids: () =>
      new Promise((resolve) => {
        waiting.push(resolve);
        tell({ type: 'signer-pids' });
      }),
    kill: async () => {
      if (state !== 'ended') {
        look();
        child.kill('SIGKILL');
      }
      await exited;
      return childrenGone();
    },
    stop: async () => {
      if (state !== 'ended') child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
      const how = await exited;
      clearTimeout(timer);
      return how;
    },
  };
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
