import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProvenListener } from '../../../sidecar/probe/listener.ts';
import { until } from '../until.ts';
import { admits, servedSerial, type ClientPair } from './served-serial.ts';
import type { ServedDirectory } from './served-directory.ts';

/** The settings of a driver, as `driver` of a target has them. */
export interface DriverSettings {
  readonly type: string;
  readonly settings: object;
}

/** A real server that takes its certificates from the directory of a target. */
export interface RunningServer extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  readonly listener: ProvenListener;
  /** The driver that fits it. */
  readonly driver: DriverSettings;
  /** Files of its own, for drivers with other settings. */
  readonly files: Readonly<Record<string, string>>;
  /** What it has printed. */
  readonly log: () => string;
  /** The serial that a new handshake shows. */
  readonly serial: () => Promise<string>;
  /** Waits until new handshakes show this serial, or it logs something. */
  readonly shows: (serial: string) => Promise<void>;
  readonly logs: (pattern: RegExp) => Promise<void>;
  /** Whether it serves a client with this certificate. */
  readonly admits: (client: ClientPair) => Promise<boolean>;
}

export interface ServerCommand {
  readonly name: string;
  readonly port: number;
  readonly protocol?: ProvenListener['protocol'];
  readonly argv: readonly string[];
  /** Undefined: that of the test. */
  readonly environment?: NodeJS.ProcessEnv;
  /** Undefined: SIGKILL to all its processes. */
  readonly endSignal?: NodeJS.Signals;
  readonly driver: DriverSettings;
  /** What a client says first, and what it answers. Undefined: a request of HTTP. */
  readonly greeting?: Buffer;
  readonly files?: Readonly<Record<string, string>>;
  /** Its files, removed at the end. */
  readonly folder: string;
  readonly target: ServedDirectory;
}

const httpGreeting = Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');

export const serverFolder = (name: string): string =>
  mkdtempSync(join(tmpdir(), `meshca-${name}-`));

/** Starts a server and waits until it shows the current set. It is killed at the end of the scope. */
export async function startServer(command: ServerCommand): Promise<RunningServer> {
  const { name, port, protocol = 'tls', argv, environment, folder } = command;
  const [program, ...rest] = argv as [string, ...string[]];
  const child = spawn(program, rest, {
    cwd: folder,
    env: environment ?? process.env,
    // a group of its own: workers of a master that was killed end as well
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes: Buffer) => (log = `${log}${bytes}`.slice(-100_000)));
  child.on('error', (error) => (log += `${error}`));
  const listener = { address: `127.0.0.1:${port}`, serverName: 'localhost', protocol };
  const serial = (): Promise<string> => servedSerial(listener);
  const server: RunningServer = {
    pid: child.pid ?? 0,
    ...{ name, port, listener, driver: command.driver, serial },
    files: command.files ?? {},
    shows: (wanted) =>
      until(async () => (await serial().catch(() => '')) === wanted, `${name} shows ${wanted}`),
    logs: (pattern) => until(() => pattern.test(log), `${name} logs ${pattern}`),
    admits: (client) => admits(listener, client, command.greeting ?? httpGreeting),
    log: () => log,
    [Symbol.asyncDispose]: async () => {
      await end(child, command.endSignal);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  try {
    await until(async () => {
      if (hasEnded(child)) throw new Error(`${name} ended: ${log}`);
      const shown = await serial().catch(() => '');
      return shown === command.target.currentSerial;
    }, `${name} shows the current set`);
  } catch (thrown) {
    await server[Symbol.asyncDispose]();
    throw new Error(`${name} does not serve: ${log}`, { cause: thrown });
  }
  return server;
}

const hasEnded = (child: ChildProcess): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null;

async function end(child: ChildProcess, signal: NodeJS.Signals | undefined): Promise<void> {
  if (child.pid === undefined) return;
  try {
    if (signal !== undefined) child.kill(signal);
    else process.kill(-child.pid, 'SIGKILL');
  } catch {
    // the group is gone
  }
  await until(() => hasEnded(child), 'the server ends');
}
