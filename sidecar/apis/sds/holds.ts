import type { Clock } from '../../../src/common/runtime/index.ts';

/**
 * Names that one stream waits for, each since when. Owner of that state and of one timer, which
 * calls `due` when the first of them has waited for `holdMs`.
 */
export class Holds {
  readonly #clock: Clock;
  readonly #holdMs: number;
  readonly #due: () => void;
  readonly #since = new Map<string, number>();
  /** The start of the wait for which the timer runs. Infinity: it does not run. */
  #plannedFor = Infinity;
  #cancel = (): void => {};

  constructor(clock: Clock, holdMs: number, due: () => void) {
    this.#clock = clock;
    this.#holdMs = holdMs;
    this.#due = due;
  }

  /** These names are waited for now, and no others. Returns those whose time is over. */
  update(names: readonly string[]): readonly string[] {
    const now = this.#clock.monotonicMs();
    const waiting = new Set(names);
    for (const name of this.#since.keys()) if (!waiting.has(name)) this.#since.delete(name);
    for (const name of waiting) if (!this.#since.has(name)) this.#since.set(name, now);
    const over = [...this.#since].filter(([, since]) => now - since >= this.#holdMs);
    this.#plan(now);
    return over.map(([name]) => name);
  }

  close(): void {
    this.#cancel();
    this.#since.clear();
  }

  #plan(now: number): void {
    const next = Math.min(
      ...[...this.#since.values()].filter((since) => now - since < this.#holdMs),
    );
    if (next === this.#plannedFor) return;
    this.#plannedFor = next;
    this.#cancel();
    this.#cancel =
      next === Infinity
        ? () => {}
        : this.#clock.after(this.#holdMs - (now - next), () => {
            // if the update sees a little less than the hold, by rounding, it sets another timer
            this.#plannedFor = Infinity;
            this.#due();
          });
  }
}
