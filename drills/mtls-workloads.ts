import { fork, type ChildProcess } from 'node:child_process';
import { childEntry } from './child-entry.ts';
import type { FromWorkload, ToWorkload } from './mtls-workload.ts';

const workloadEntry = childEntry('mtls-workload');

export interface WorkloadTotals {
  readonly handshakes: number;
  readonly failed: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly chains: readonly (readonly Buffer[])[];
}

/** Owner of workload processes of one agent, which talk to each other all the time. */
export class MtlsWorkloads implements AsyncDisposable {
  readonly #options: { readonly socketPath: string; readonly pauseMs: number };
  readonly #children: ChildProcess[] = [];
  #asked = 0;
  readonly #traffic = new Map<ChildProcess, Extract<FromWorkload, { type: 'traffic' }>>();

  constructor(options: { readonly socketPath: string; readonly pauseMs: number }) {
    this.#options = options;
  }

  async start(count: number, signal: AbortSignal): Promise<void> {
    const ports: number[] = [];
    // a few at a time, since each is a process that must start
    for (let started = 0; started < count; started += 5) {
      signal.throwIfAborted();
      ports.push(
        ...(await Promise.all(
          Array.from({ length: Math.min(5, count - started) }, () => this.#one()),
        )),
      );
    }
    for (const child of this.#children) child.send({ type: 'peers', ports } satisfies ToWorkload);
  }

  get pids(): readonly number[] {
    return this.#children.map(({ pid }) => pid as number);
  }

  signal(name: 'SIGSTOP' | 'SIGCONT' | 'SIGKILL'): void {
    for (const child of this.#children) child.kill(name);
  }

  /** Resolves when `totals` includes everything that the workloads have seen until now. */
  async reported(): Promise<void> {
    const number = (this.#asked += 1);
    await Promise.all(
      this.#children.map(
        (child) =>
          new Promise<void>((resolve) => {
            const heard = (message: FromWorkload): void => {
              if (message.type !== 'reported' || message.number !== number) return;
              child.off('message', heard);
              resolve();
            };
            child.on('message', heard);
            // a process that has ended reports nothing more
            child.once('exit', () => resolve());
            if (child.exitCode !== null || child.signalCode !== null) resolve();
            else child.send({ type: 'report', number } satisfies ToWorkload);
          }),
      ),
    );
  }

  totals(): WorkloadTotals {
    let [handshakes, failed] = [0, 0];
    const failures: Record<string, number> = {};
    const chains: (readonly Buffer[])[] = [];
    for (const each of this.#traffic.values()) {
      handshakes += each.handshakes;
      failed += each.failed;
      for (const [text, count] of Object.entries(each.failures))
        failures[text] = (failures[text] ?? 0) + count;
      chains.push(each.chainDer.map((der) => Buffer.from(der, 'base64')));
    }
    // a process that died counts as a failure, since its numbers are missing
    failed += this.#children.filter(
      ({ exitCode, signalCode }) => exitCode !== null || signalCode !== null,
    ).length;
    return { handshakes, failed, failures, chains };
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

  #one(): Promise<number> {
    const child = fork(workloadEntry, [this.#options.socketPath, String(this.#options.pauseMs)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: ['--max-semi-space-size=2'],
      detached: true,
    });
    this.#children.push(child);
    return new Promise((resolve, reject) => {
      child.on('message', (message: FromWorkload) => {
        if (message.type === 'listening') resolve(message.port);
        else if (message.type === 'traffic') this.#traffic.set(child, message);
      });
      child.once('exit', (code, signal) =>
        reject(new Error(`a workload ended before it listened (${signal ?? code})`)),
      );
    });
  }
}
