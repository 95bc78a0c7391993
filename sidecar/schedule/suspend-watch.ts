import type { Clock } from '../../src/common/runtime/index.ts';
import { clockJumpMs, type ClockReading } from './renewal.ts';

const thresholdMs = 2000;

/**
 * Notices that the machine slept: the wall clock ran on while the monotonic clock stopped. A
 * forward step of the wall clock looks the same and costs an early renewal. A backward step is
 * ignored.
 */
export class SuspendWatch {
  readonly #clock: Clock;
  #last: ClockReading;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#last = { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs() };
  }

  /** Milliseconds slept since the last look, or 0. */
  slept(): number {
    const now = { wallMs: this.#clock.nowMs(), monotonicMs: this.#clock.monotonicMs() };
    const jump = clockJumpMs(this.#last, now);
    this.#last = now;
    return jump >= thresholdMs ? jump : 0;
  }
}
