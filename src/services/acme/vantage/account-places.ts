import type { Clock } from '../../../common/runtime/index.ts';

/** A place of an account, until it is free again. */
interface Place {
  /** Monotonic. Infinity: nobody has said when. */
  freeAtMs: number;
}

/**
 * So many rounds of one account go on at a time, and the others wait: hosts that are silent on
 * purpose take a part of what each agent can do, and not all of it. Owner of who has a place.
 */
export class AccountPlaces {
  readonly #perAccount: number;
  readonly #clock: Pick<Clock, 'monotonicMs' | 'after'>;
  readonly #taken = new Map<string, Set<Place>>();
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(perAccount: number, clock: Pick<Clock, 'monotonicMs' | 'after'>) {
    this.#perAccount = perAccount;
    this.#clock = clock;
  }

  /** The call that frees it again, from this monotonic time on. Undefined: all are taken. */
  take(account: string): ((freeAtMs: number) => void) | undefined {
    this.#forget();
    const taken = this.#taken.get(account) ?? new Set();
    if (taken.size >= this.#perAccount) return undefined;
    const place: Place = { freeAtMs: Infinity };
    this.#taken.set(account, taken.add(place));
    return (freeAtMs) => {
      place.freeAtMs = freeAtMs;
      this.#forget();
      for (const wake of this.#waiting.get(account) ?? []) wake();
    };
  }

  /** Resolves when one may be free, or at the abort. */
  async change(account: string, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wakers = this.#waiting.get(account) ?? new Set();
    this.#waiting.set(account, wakers.add(resolve));
    const taken = [...(this.#taken.get(account) ?? [])];
    const soonestMs = Math.min(...taken.map(({ freeAtMs }) => freeAtMs));
    const cancel = Number.isFinite(soonestMs)
      ? this.#clock.after(soonestMs - this.#clock.monotonicMs(), resolve)
      : () => {};
    const stop = (): void => resolve();
    signal.addEventListener('abort', stop, { once: true });
    try {
      await promise;
    } finally {
      cancel();
      signal.removeEventListener('abort', stop);
      wakers.delete(resolve);
      if (wakers.size === 0 && this.#waiting.get(account) === wakers) this.#waiting.delete(account);
    }
  }

  /** What is free by now, of all accounts. */
  #forget(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [account, taken] of this.#taken) {
      for (const place of taken) if (place.freeAtMs <= nowMs) taken.delete(place);
      if (taken.size === 0) this.#taken.delete(account);
    }
  }
}
