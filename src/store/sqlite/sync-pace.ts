import type { Clock } from '../../common/runtime/index.ts';

/**
 * Another thread takes the disk's time off this one. But its wake-ups cost 0.2 to 0.3 ms of CPU, and
 * on a busy machine the commit then waits for its turn on a processor. So this thread syncs by itself
 * while most syncs take less than this.
 */
const slowMs = 0.5;
/** One sync that takes so long blocks the thread too long to wait for others like it. */
const stallMs = 20;
/** Most of so many decide. One slow sync says little: the thread may have lost its processor. */
const window = 16;
/** Most of so many decide at the beginning of a trial. */
const trial = 3;
/** After slow syncs, this thread tries the disk again after so long: twice as long each time. */
const [firstRestMs, longestRestMs] = [1_000, 60_000];

/** Decides which thread syncs the write-ahead log. Owner of the recent times of the disk. */
export class SyncPace {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #recent: boolean[] = [];
  #restMs = firstRestMs;
  #restUntilMs = 0;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** Whether this thread syncs now; if so, `took` is called next. */
  isInline(): boolean {
    return this.#clock.monotonicMs() >= this.#restUntilMs;
  }

  /** `ms`: how long the sync took in this thread. */
  took(ms: number): void {
    if (ms > stallMs) {
      this.#rest();
      return;
    }
    this.#recent.push(ms > slowMs);
    if (this.#recent.length > window) this.#recent.shift();
    const known = this.#recent.length;
    if (known !== trial && known < window) return;
    const slow = this.#recent.filter(Boolean).length;
    if (slow * 2 > known) this.#rest();
    else if (known === window) this.#restMs = firstRestMs;
  }

  #rest(): void {
    this.#recent = [];
    this.#restUntilMs = this.#clock.monotonicMs() + this.#restMs;
    this.#restMs = Math.min(this.#restMs * 2, longestRestMs);
  }
}
