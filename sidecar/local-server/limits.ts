import type { Clock } from '../../src/common/runtime/index.ts';

/** Counts what is open per key. */
export class OpenCounter {
  readonly #limit: number;
  readonly #open = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  count(key: string): number {
    return this.#open.get(key) ?? 0;
  }

  /** The function that gives the place back, or undefined if the key has no place left. */
  take(key: string): (() => void) | undefined {
    const open = this.count(key);
    if (open >= this.#limit) return undefined;
    this.#open.set(key, open + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = this.count(key) - 1;
      if (left === 0) this.#open.delete(key);
      else this.#open.set(key, left);
    };
  }
}

/** A token bucket per key; full buckets are forgotten. */
export class RateLimit {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();

  constructor(clock: Clock, perSecond: number, burst: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
    this.#burst = burst;
  }

  /** 0 if admitted, else the milliseconds to wait. */
  take(key: string): number {
    const nowMs = this.#clock.monotonicMs();
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= 1024) this.#forgetFull(nowMs);
      bucket = { tokens: this.#burst, atMs: nowMs };
      this.#buckets.set(key, bucket);
    }
    bucket.tokens = Math.min(
      this.#burst,
      bucket.tokens + ((nowMs - bucket.atMs) / 1000) * this.#perSecond,
    );
    bucket.atMs = nowMs;
    if (bucket.tokens < 1) return Math.ceil(((1 - bucket.tokens) / this.#perSecond) * 1000);
    bucket.tokens -= 1;
    return 0;
  }

  #forgetFull(nowMs: number): void {
    for (const [key, bucket] of this.#buckets) {
      if (bucket.tokens + ((nowMs - bucket.atMs) / 1000) * this.#perSecond >= this.#burst)
        this.#buckets.delete(key);
    }
  }
}

/** The values that a key used lately, so that only new ones are charged. */
export class RecentValues {
  readonly #perKey: number;
  readonly #recent = new Map<string, Set<string>>();

  constructor(perKey: number) {
    this.#perKey = perKey;
  }

  has(key: string, value: string): boolean {
    return this.#recent.get(key)?.has(value) ?? false;
  }

  add(key: string, value: string): void {
    let values = this.#recent.get(key);
    if (values === undefined) {
      if (this.#recent.size >= 1024)
        this.#recent.delete(this.#recent.keys().next().value as string);
      values = new Set();
      this.#recent.set(key, values);
    }
    values.delete(value);
    values.add(value);
    if (values.size > this.#perKey) values.delete(values.values().next().value as string);
  }
}
