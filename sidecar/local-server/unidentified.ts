import { KeyedBuckets, type Clock, type Rate } from '../../src/common/runtime/index.ts';
import type { Peer } from '../attest/index.ts';

/** Refusals of processes that no entry gives an identity. */
export interface UnidentifiedRates {
  readonly perImage: Rate;
  /** Of one user in one control group: pods share uid 0. */
  readonly perGroup: Rate;
}

/** Who connects: the process, if the kernel vouches for it, and whose share it takes. */
export interface Claimant {
  readonly peer: Pick<Peer, 'pid' | 'image'> | undefined;
  /** User and control group. */
  readonly holder: string;
}

const maximumIdentified = 8192;

/**
 * Charges refusals to who is refused: to tell a process that it has no identity takes several times
 * the work that asking does. While a share is used up, connections and calls are turned away before
 * they are attested. A share is bound to what the process runs: after an exec it is a new one. A
 * process that was given an identity has a share of its own, so that refusals of its neighbours keep
 * it from nothing. Where the kernel hides an exec from the agent, that share stays with the process,
 * whatever it runs, and is used up by its refusals alone. Owner of the shares; a change of entries
 * gives everybody a full one, since the answer may be another.
 */
export class UnidentifiedCharges {
  readonly #rates: UnidentifiedRates;
  readonly #clock: Clock;
  #images: KeyedBuckets;
  #groups: KeyedBuckets;
  /** Images, the newest last. */
  readonly #identified = new Set<string>();

  constructor(rates: UnidentifiedRates, clock: Clock) {
    this.#rates = rates;
    this.#clock = clock;
    this.#images = new KeyedBuckets(rates.perImage, clock);
    this.#groups = new KeyedBuckets(rates.perGroup, clock);
  }

  /** A refusal was answered. */
  charge({ peer, holder }: Claimant): void {
    const image = imageOf(peer);
    if (image !== undefined) this.#images.take(image);
    if (!this.#isIdentified(image)) this.#groups.take(holder);
  }

  /** Milliseconds until another refusal is affordable; 0: now. */
  waitMs({ peer, holder }: Claimant): number {
    const image = imageOf(peer);
    const ofImage = image === undefined ? 0 : this.#images.waitMs(image);
    return Math.max(ofImage, this.#isIdentified(image) ? 0 : this.#groups.waitMs(holder));
  }

  /** An entry gives this process an identity. */
  identified({ peer }: Claimant): void {
    const image = imageOf(peer);
    if (image === undefined) return;
    this.#identified.delete(image);
    this.#identified.add(image);
    if (this.#identified.size > maximumIdentified)
      this.#identified.delete(this.#identified.values().next().value as string);
  }

  clear(): void {
    this.#images = new KeyedBuckets(this.#rates.perImage, this.#clock);
    this.#groups = new KeyedBuckets(this.#rates.perGroup, this.#clock);
    this.#identified.clear();
  }

  #isIdentified(image: string | undefined): boolean {
    return image !== undefined && this.#identified.has(image);
  }
}

/** Of one process since its last exec, as far as the kernel tells of it. */
const imageOf = (peer: Claimant['peer']): string | undefined =>
  peer === undefined ? undefined : `${peer.pid} ${peer.image.startTime} ${peer.image.token ?? ''}`;
