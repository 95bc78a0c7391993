import type { Json } from '../../common/approval/index.ts';
import type { Clock } from '../../common/runtime/index.ts';

const lifeMs = 3_600_000;
const maximum = 200;

/**
 * Answers of executed operations. They are kept in memory only, because an answer may contain a
 * join token.
 */
export class ResultShelf {
  readonly #clock: Clock;
  readonly #results = new Map<string, { readonly response: Json; readonly untilMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  put(id: string, response: Json): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [old, { untilMs }] of this.#results)
      if (untilMs <= nowMs || this.#results.size >= maximum) this.#results.delete(old);
    this.#results.set(id, { response, untilMs: nowMs + lifeMs });
  }

  /** Returns the answer once. */
  take(id: string): Json | undefined {
    const result = this.#results.get(id);
    this.#results.delete(id);
    return result === undefined || result.untilMs <= this.#clock.monotonicMs()
      ? undefined
      : result.response;
  }
}
