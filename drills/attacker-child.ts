import { fork, type ChildProcess } from 'node:child_process';
import { childEntry } from './child-entry.ts';
import { within } from './within.ts';
import type { AttackOrder, FromAttacker, ToAttacker } from './attack-messages.ts';

const entry = childEntry('attacker');

/** An attacker in a process of its own. What is asked of it is answered, or fails, within bounds. */
export class AttackerChild implements Disposable {
  readonly #child: ChildProcess;
  readonly #kind: string;
  readonly #counts: PromiseWithResolvers<FromAttacker>[] = [];
  readonly #ended = Promise.withResolvers<FromAttacker>();
  readonly #ready = Promise.withResolvers<void>();
  #gone = false;

  constructor(order: AttackOrder, signal: AbortSignal) {
    this.#kind = order.kind;
    this.#child = fork(entry, [JSON.stringify(order)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      execArgv: [],
    });
    this.#child.on('message', (message: FromAttacker) => {
      if (message.type === 'ready') this.#ready.resolve();
      else if (message.type === 'count') this.#counts.shift()?.resolve(message);
      else this.#ended.resolve(message);
    });
    this.#child.once('exit', () => {
      this.#gone = true;
      for (const waiting of [this.#ready, this.#ended, ...this.#counts]) waiting.reject(this.#left);
    });
    // an order that finds the channel closed: the exit tells
    this.#child.on('error', () => {});
    this.#ended.promise.catch(() => {});
    this.#ready.promise.catch(() => {});
    signal.addEventListener('abort', () => this.#child.kill('SIGKILL'), { once: true });
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  ready(): Promise<void> {
    return within(this.#ready.promise, `the attacker is ready: ${this.#kind}`);
  }

  async count(): Promise<FromAttacker> {
    const counted = Promise.withResolvers<FromAttacker>();
    this.#tell('count');
    this.#counts.push(counted);
    return within(counted.promise, `the attacker counts: ${this.#kind}`);
  }

  async stop(): Promise<FromAttacker> {
    this.#tell('stop');
    return within(this.#ended.promise, `the attacker stops: ${this.#kind}`);
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }

  get #left(): Error {
    return new Error(`the attacker ended: ${this.#kind}`);
  }

  #tell(message: ToAttacker): void {
    if (this.#gone || !this.#child.connected) throw this.#left;
    this.#child.send(message);
  }
}
