import { fork, type ChildProcess } from 'node:child_process';
import { childEntry } from './child-entry.ts';
import type { Served } from './conversation.ts';
import type { FromClient, ToClient } from './provision-client.ts';
import type { LoadFigures } from './server-load.ts';
import { within } from './within.ts';

const clientEntry = childEntry('provision-client');

/** Owner of the process whose connections test the servers. */
export class ProvisionClients implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<never>;
  #asked = 0;

  constructor(socketPath: string, pauseMs: number, served: readonly Served[]) {
    this.#child = fork(clientEntry, [socketPath, String(pauseMs), JSON.stringify(served)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: [],
      detached: true,
    });
    this.#ended = new Promise((_resolve, reject) => {
      this.#child.once('exit', (code, signal) =>
        reject(new Error(`the clients ended (${signal ?? code})`)),
      );
    });
    this.#ended.catch(() => undefined);
  }

  /** By the name of the server. */
  figures(): Promise<Readonly<Record<string, LoadFigures>>> {
    const number = (this.#asked += 1);
    const answer = new Promise<FromClient['figures']>((resolve, reject) => {
      const heard = (message: FromClient): void => {
        if (message.number !== number) return;
        this.#child.off('message', heard);
        resolve(message.figures);
      };
      this.#child.on('message', heard);
      this.#ended.catch(reject);
      this.#child.send({ number } satisfies ToClient);
    });
    return within(answer, 'the clients report');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }
}
