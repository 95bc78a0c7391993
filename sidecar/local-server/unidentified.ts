import {
  KeyedBuckets,
  TokenBucket,
  type Clock,
  type Rate,
} from '../../src/common/runtime/index.ts';
import type { ImageFacts, Peer } from '../attest/index.ts';

/** Refusals of processes that no entry gives an identity. */
export interface UnidentifiedRates {
  readonly perImage: Rate;
  /** Of one user in one control group: pods share uid 0. */
  readonly perGroup: Rate;
}

/** Who connects: the process, if the kernel vouches for it, and whose share it takes. */
export interface Claimant {
  readonly peer: Pick<Peer, 'image'> | undefined;
  /** User and control group. */
  readonly holder: string;
}

/**
 * Charges refusals to who is refused: to tell a process that it has no identity takes several times
 * the work that asking does. While a share is used up, connections and calls are turned away before
 * they are attested. A share is bound to what the process runs: after an exec it is a new one. Owner
 * of the shares; a change of entries gives everybody a full one, since the answer may be another.
 */
export class UnidentifiedCharges {
  readonly #rates: UnidentifiedRates;
  readonly #clock: Clock;
  #images = new WeakMap<ImageFacts, TokenBucket>();
  #groups: KeyedBuckets;

  constructor(rates: UnidentifiedRates, clock: Clock) {
    this.#rates = rates;
    this.#clock = clock;
    this.#groups = new KeyedBuckets(rates.perGroup, clock);
  }

  /** A refusal was answered. */
  charge({ peer, holder }: Claimant): void {
    this.#groups.take(holder);
    if (peer === undefined) return;
    let bucket = this.#images.get(peer.image);
    if (bucket === undefined) {
      bucket = new TokenBucket(this.#rates.perImage, this.#clock);
      this.#images.set(peer.image, bucket);
    }
    bucket.take();
  }

  /** Milliseconds until another refusal is affordable; 0: now. */
  waitMs({ peer, holder }: Claimant): number {
    const image = peer === undefined ? undefined : this.#images.get(peer.image);
    return Math.max(image?.waitMs() ?? 0, this.#groups.waitMs(holder));
  }

  clear(): void {
    this.#images = new WeakMap();
    this.#groups = new KeyedBuckets(this.#rates.perGroup, this.#clock);
  }
}
