import { uuidv7, type Clock } from '../../../src/common/runtime/index.ts';

/** As long as the server answers a repeated call of Istio with the recorded certificate. */
const repeatMs = 60_000;
const maximumKept = 10_000;

/**
 * The request IDs of recent calls. Istio's clients repeat a call with the same request when its answer
 * was lost, and have no ID for it: the same caller, entry and request get the same ID for a minute,
 * and so the recorded certificate. Owner of that state.
 */
export class Repeats {
  readonly #clock: Clock;
  /** The oldest first. */
  readonly #kept = new Map<string, { readonly requestId: string; readonly atMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  requestIdOf(key: string): string {
    const now = this.#clock.monotonicMs();
    for (const [oldest, { atMs }] of this.#kept) {
      if (now - atMs < repeatMs && this.#kept.size < maximumKept) break;
      this.#kept.delete(oldest);
    }
    const known = this.#kept.get(key);
    if (known !== undefined) return known.requestId;
    const requestId = uuidv7(this.#clock.nowMs());
    this.#kept.set(key, { requestId, atMs: now });
    return requestId;
  }

  /** It was refused: the next call is a new one. */
  forget(key: string): void {
    this.#kept.delete(key);
  }
}
