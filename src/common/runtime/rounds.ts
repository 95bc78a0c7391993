import type { Clock } from './clock.ts';

export interface RoundsOptions {
  readonly clock: Pick<Clock, 'after' | 'monotonicMs'>;
  /** Resolves with true if something failed. */
  readonly work: () => Promise<boolean>;
  /** Called with what `work` rejected with, which counts as a failure. */
  readonly onError: (thrown: unknown) => void;
  /** Between two rounds where nothing changes and nothing fails. */
  readonly everyMs: number;
}

/** Changes that come together share a round. */
export const afterChangeMs = 20;
/** For a change after a failed round: otherwise frequent changes would repeat the failure. */
export const changeAfterFailureMs = 500;
export const retryMs = 5_000;

/**
 * Runs the same work again and again, one round at a time: soon after each change, some seconds
 * after a failure, and at intervals. A change comes before all else, since a failure in one part of
 * the work must not hold up the others. Frequent changes never put a planned round off. Owner of
 * the timer.
 */
export class Rounds {
  readonly #options: RoundsOptions;
  #running: Promise<void> | undefined;
  #planned: { readonly atMs: number; readonly cancel: () => void } | undefined;
  /** Whether something changed since the present round began. */
  #changed = false;
  #failed = false;
  #endedMs = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: RoundsOptions) {
    this.#options = options;
  }

  /** Something changed. A round that is under way may have passed it by: another one follows. */
  changed(): void {
    if (this.#running === undefined) this.#planChange();
    else this.#changed = true;
  }

  /** Runs a round at once, or joins the present one. Resolves when it is over. */
  run(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#planned?.cancel();
    this.#planned = undefined;
    this.#running ??= this.#options
      .work()
      .catch((thrown: unknown) => {
        this.#options.onError(thrown);
        return true;
      })
      .then((failed) => this.#over(failed));
    return this.#running;
  }

  /** Begins no further round. Resolves when the present one is over. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#planned?.cancel();
    await this.#running;
  }

  #over(failed: boolean): void {
    this.#running = undefined;
    this.#failed = failed;
    this.#endedMs = this.#options.clock.monotonicMs();
    this.#plan(failed ? retryMs : this.#options.everyMs);
    if (this.#changed) this.#planChange();
    this.#changed = false;
  }

  #planChange(): void {
    const sinceMs = this.#options.clock.monotonicMs() - this.#endedMs;
    this.#plan(
      this.#failed ? Math.max(afterChangeMs, changeAfterFailureMs - sinceMs) : afterChangeMs,
    );
  }

  /** Only ever moves a planned round forward. */
  #plan(delayMs: number): void {
    if (this.#closed) return;
    const { clock } = this.#options;
    const atMs = clock.monotonicMs() + delayMs;
    if (this.#planned !== undefined && this.#planned.atMs <= atMs) return;
    this.#planned?.cancel();
    this.#planned = { atMs, cancel: clock.after(delayMs, () => void this.run()) };
  }
}
