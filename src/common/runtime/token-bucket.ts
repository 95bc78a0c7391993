import type { Clock } from './clock.ts';

export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

/** A token bucket on the monotonic clock. */
export class TokenBucket {
  readonly #rate: Rate;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #tokens: number;
  #atMs: number;

  constructor(rate: Rate, clock: Pick<Clock, 'monotonicMs'>) {
    if (!(rate.perSecond > 0) || !(rate.burst >= 1))
      throw new RangeError('a rate needs perSecond > 0 and burst >= 1');
    this.#rate = rate;
    this.#clock = clock;
    this.#tokens = rate.burst;
    this.#atMs = clock.monotonicMs();
  }

  /**
   * Takes `cost` and returns 0, or returns the milliseconds until it will be available. A cost
   * beyond the burst is taken when the bucket is full and leaves a debt, so that a large batch is
   * slow but never impossible.
   */
  take(cost = 1): number {
    this.#refill();
    const needed = Math.min(cost, this.#rate.burst);
    if (this.#tokens >= needed) {
      this.#tokens -= cost;
      return 0;
    }
    return Math.ceil(((needed - this.#tokens) / this.#rate.perSecond) * 1000);
  }

  /** Milliseconds after which one will be there; 0: now. Takes nothing. */
  waitMs(): number {
    this.#refill();
    return this.#tokens >= 1 ? 0 : Math.ceil(((1 - this.#tokens) / this.#rate.perSecond) * 1000);
  }

  /** 0 to 1; below 0 while there is a debt. */
  get level(): number {
    this.#refill();
    return this.#tokens / this.#rate.burst;
  }

  get isFull(): boolean {
    this.#refill();
    return this.#tokens >= this.#rate.burst;
  }

  #refill(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#tokens = Math.min(
      this.#rate.burst,
      this.#tokens + (Math.max(0, nowMs - this.#atMs) / 1000) * this.#rate.perSecond,
    );
    this.#atMs = nowMs;
  }
}

const maximumBuckets = 20_000;

/**
 * One bucket per key. Full buckets are dropped when there are many, since a new one is full as
 * well. Owner of its map.
 */
export class KeyedBuckets {
  readonly #rate: Rate;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #buckets = new Map<string, TokenBucket>();
  #sweptAtMs = -Infinity;

  constructor(rate: Rate, clock: Pick<Clock, 'monotonicMs'>) {
    this.#rate = rate;
    this.#clock = clock;
  }

  take(key: string, cost = 1): number {
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= maximumBuckets) this.#sweep();
      bucket = new TokenBucket(this.#rate, this.#clock);
      this.#buckets.set(key, bucket);
    }
    return bucket.take(cost);
  }

  /** What `take` of one would answer; takes nothing. */
  waitMs(key: string): number {
    return this.#buckets.get(key)?.waitMs() ?? 0;
  }

  get size(): number {
    return this.#buckets.size;
  }

  #sweep(): void {
    // to check all buckets for each new key would cost more than the limit saves
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#sweptAtMs >= 1000) {
      this.#sweptAtMs = nowMs;
      for (const [key, bucket] of this.#buckets) if (bucket.isFull) this.#buckets.delete(key);
    }
    // if all are in use, the oldest is dropped; its key gets a full bucket again, and the memory
    // stays bounded
    for (const key of this.#buckets.keys()) {
      if (this.#buckets.size < maximumBuckets) break;
      this.#buckets.delete(key);
    }
  }
}
