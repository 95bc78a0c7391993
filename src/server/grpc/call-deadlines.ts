import type { Clock } from '../../common/runtime/index.ts';

/** A call under way. */
export interface TimedCall {
  /** On the monotonic clock. */
  readonly startedMs: number;
  /** Its time is over. Called once at most. */
  expire(): void;
}

/**
 * Ends the calls whose time is over. All calls here have the same time, so that they are due in the
 * order of their begin, and one timer is enough for all of them. Owner of that timer.
 */
export class CallDeadlines {
  readonly #clock: Pick<Clock, 'monotonicMs' | 'after'>;
  readonly #limitMs: number;
  /** In the order of their begin. */
  readonly #calls = new Set<TimedCall>();
  #cancel: (() => void) | undefined;

  constructor(clock: Pick<Clock, 'monotonicMs' | 'after'>, limitMs: number) {
    this.#clock = clock;
    this.#limitMs = limitMs;
  }

  add(call: TimedCall): void {
    this.#calls.add(call);
    if (this.#cancel === undefined) this.#expireAfter(this.#limitMs);
  }

  delete(call: TimedCall): void {
    this.#calls.delete(call);
    if (this.#calls.size > 0) return;
    // a timer would keep the process alive
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #expireAfter(delayMs: number): void {
    this.#cancel = this.#clock.after(delayMs, () => {
      this.#cancel = undefined;
      this.#expireDue();
    });
  }

  #expireDue(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const call of this.#calls) {
      const leftMs = call.startedMs + this.#limitMs - nowMs;
      if (leftMs > 0) {
        this.#expireAfter(leftMs);
        return;
      }
      this.#calls.delete(call);
      call.expire();
    }
  }
}
