import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../../common/runtime/index.ts';

/** Other calls run after this time. */
const turnMs = 8;

/** Divides long work into turns, so that other calls run meanwhile. Owner of the time of a turn. */
export class Turns {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #signal: AbortSignal;
  #since: number;

  constructor(clock: Pick<Clock, 'monotonicMs'>, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
    this.#since = clock.monotonicMs();
  }

  get isOver(): boolean {
    return this.#clock.monotonicMs() - this.#since >= turnMs;
  }

  /** Rejects if nobody waits for the work any more. */
  async next(): Promise<void> {
    await turn();
    this.#signal.throwIfAborted();
    this.#since = this.#clock.monotonicMs();
  }
}
