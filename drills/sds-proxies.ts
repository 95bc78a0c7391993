import { fork, type ChildProcess } from 'node:child_process';
import { until } from '../test/support/until.ts';
import { childEntry } from './child-entry.ts';
import type { FromProxy, SeenStream, ToProxy } from './sds-proxy.ts';

const entry = childEntry('sds-proxy');

/** Owner of processes that take secrets from one agent. */
export class SdsProxies implements AsyncDisposable {
  readonly #socketPath: string;
  readonly #children: ChildProcess[] = [];
  #asked = 0;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  start(processes: number, connections: number): void {
    for (let started = 0; started < processes; started += 1)
      this.#children.push(
        fork(entry, [this.#socketPath, String(connections)], {
          stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
          execArgv: [],
          detached: true,
        }),
      );
  }

  get pids(): readonly number[] {
    return this.#children.map(({ pid }) => pid as number);
  }

  send(process: number, message: Exclude<ToProxy, { type: 'report' }>): void {
    this.#children[process]?.send(message);
  }

  /** What each process has seen until now, by process. */
  async seen(): Promise<readonly (readonly SeenStream[])[]> {
    const number = (this.#asked += 1);
    return Promise.all(
      this.#children.map(
        (child) =>
          new Promise<readonly SeenStream[]>((resolve, reject) => {
            const ended = (): void => reject(new Error('a process with proxies has ended'));
            const heard = (message: FromProxy): void => {
              if (message.number !== number) return;
              child.off('message', heard);
              child.off('exit', ended);
              resolve(message.streams);
            };
            child.on('message', heard);
            child.once('exit', ended);
            child.send({ type: 'report', number } satisfies ToProxy);
          }),
      ),
    );
  }

  /** Resolves when the condition holds for each stream. */
  async each(what: string, holds: (stream: SeenStream) => boolean): Promise<void> {
    await until(async () => (await this.seen()).flat().every(holds), what);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        await gone;
      }),
    );
  }
}
