import { InOrder, type Clock, type Place } from '../../common/runtime/index.ts';

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
  readonly #calls = new InOrder<TimedCall>();
  #cancel: (() => void) | undefined;

  constructor(clock: Pick<Clock, 'monotonicMs' | 'after'>, limitMs: number) {
    this.#clock = clock;
    this.#limitMs = limitMs;
  }

  /** The place is given to `remove` when the call has ended. */
  add(call: TimedCall): Place<TimedCall> {
    const place = this.#calls.add(call);
    if (this.#cancel === undefined) this.#expireAfter(this.#limitMs);
    return place;
  }

  remove(place: Place<TimedCall>): void {
    this.#calls.remove(place);
    if (this.#calls.first !== undefined) return;
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
    for (;;) {
      const place = this.#calls.first;
      const call = place?.value;
      if (place === undefined || call === undefined) return;
      const leftMs = call.startedMs + this.#limitMs - nowMs;
      if (leftMs > 0) {
        this.#expireAfter(leftMs);
        return;
      }
      this.#calls.remove(place);
      call.expire();
    }
  }
}
