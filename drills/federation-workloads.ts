import { fork, type ChildProcess } from 'node:child_process';
import { childEntry } from './child-entry.ts';
import type { FromWorkload, ToWorkload, TrafficCount } from './federation-workload.ts';

const entry = childEntry('federation-workload');

export interface FederationTraffic {
  readonly own: TrafficCount;
  readonly foreign: TrafficCount;
  readonly failures: Readonly<Record<string, number>>;
}

type Traffic = Extract<FromWorkload, { type: 'traffic' }>;

/** Owner of the workload processes of one trust domain. */
export class FederationWorkloads implements AsyncDisposable {
  readonly #children: ChildProcess[] = [];
  #ports: readonly number[] = [];
  #asked = 0;

  get ports(): readonly number[] {
    return this.#ports;
  }

  get size(): number {
    return this.#children.length;
  }

  async start(
    count: number,
    options: {
      readonly socketPath: string;
      readonly pauseMs: number;
      readonly foreignDomains: readonly string[];
    },
  ): Promise<void> {
    const { socketPath, pauseMs, foreignDomains } = options;
    const args = [socketPath, String(pauseMs), foreignDomains.join()];
    this.#ports = await Promise.all(Array.from({ length: count }, () => this.#one(args)));
  }

  /** From now on they visit each other and these. */
  visit(foreign: readonly number[]): void {
    for (const child of this.#children)
      child.send({ type: 'peers', own: this.#ports, foreign } satisfies ToWorkload);
  }

  /** Everything that they have seen until now. */
  async traffic(): Promise<FederationTraffic> {
    const all = await this.#reports();
    const failures: Record<string, number> = {};
    for (const each of all)
      for (const [text, count] of Object.entries(each.failures))
        failures[text] = (failures[text] ?? 0) + count;
    const sum = (side: 'own' | 'foreign', what: keyof TrafficCount): number =>
      all.reduce((total, each) => total + each[side][what], 0);
    const countsOf = (side: 'own' | 'foreign'): TrafficCount => ({
      succeeded: sum(side, 'succeeded'),
      failed: sum(side, 'failed'),
    });
    return {
      own: countsOf('own'),
      foreign: countsOf('foreign'),
      failures,
    };
  }

  /** Of the workload that has the fewest roots of a trust domain. */
  async leastRoots(trustDomain: string): Promise<number> {
    return Math.min(...(await this.#reports()).map(({ roots }) => roots[trustDomain] ?? 0));
  }

  /** Of the workload that has the most. 0: nobody trusts that trust domain. */
  async mostRoots(trustDomain: string): Promise<number> {
    return Math.max(...(await this.#reports()).map(({ roots }) => roots[trustDomain] ?? 0));
  }

  /** Of their certificates. */
  async serials(): Promise<readonly string[]> {
    return (await this.#reports()).map(({ serial }) => serial);
  }

  #reports(): Promise<readonly Traffic[]> {
    const number = (this.#asked += 1);
    return Promise.all(this.#children.map((child) => reportOf(child, number)));
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

  #one(args: readonly string[]): Promise<number> {
    const child = fork(entry, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: ['--max-semi-space-size=2'],
      detached: true,
    });
    this.#children.push(child);
    return new Promise((resolve, reject) => {
      child.on('message', (message: FromWorkload) => {
        if (message.type === 'listening') resolve(message.port);
      });
      child.once('exit', (code, signal) =>
        reject(new Error(`a workload ended (${signal ?? code})`)),
      );
    });
  }
}

function reportOf(child: ChildProcess, number: number): Promise<Traffic> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new Error('a workload ended'));
    const heard = (message: FromWorkload): void => {
      if (message.type !== 'traffic' || message.number !== number) return;
      child.off('message', heard);
      child.off('exit', onExit);
      resolve(message);
    };
    child.on('message', heard);
    child.once('exit', onExit);
    child.send({ type: 'report', number } satisfies ToWorkload);
  });
}
