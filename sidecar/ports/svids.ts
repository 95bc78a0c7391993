import type { PkiError } from '../../src/common/errors/index.ts';
import type { Selector, SpiffeId } from '../../src/common/spiffe/index.ts';
import type { Identity } from './entries.ts';

export interface HeldX509Svid {
  readonly identity: Identity;
  readonly serial: string;
  /** Leaf first, without the root. */
  readonly chainDer: readonly Buffer[];
  readonly privateKeyPkcs8Der: Buffer;
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface SvidSubscription {
  /** The newest SVID, or undefined while the first one is being signed, or after it expired. */
  current(): HeldX509Svid | undefined;
  /**
   * The first SVID; rejects with the PkiError of the refusal or NOT_SYNCED/UNREACHABLE after
   * `signal` or its own deadline.
   */
  ready(signal?: AbortSignal): Promise<HeldX509Svid>;
  onUpdate(listener: (svid: HeldX509Svid) => void): () => void;
  /** The holder has read this SVID: the one it replaced is confirmed as replaced. */
  confirm(serial: string): void;
  release(): void;
}

/** What a workload would be given for one identity now. */
export type Standing =
  | { readonly kind: 'held'; readonly notAfter: number }
  | { readonly kind: 'refused'; readonly error: PkiError }
  /** Nobody asked yet, or the answer is on its way. */
  | { readonly kind: 'not held' };

export interface HeldJwtSvid {
  readonly spiffeId: SpiffeId;
  readonly token: string;
  readonly expiresAt: number;
  readonly hint: string;
}

/**
 * Owner of the workload keys. SVIDs exist for identities in use, and for a bounded number ahead of
 * use (LRU kept warm after release, and entries with few selectors prefetched up to the bound).
 * Concurrent requests for new SVIDs share batches.
 */
export interface SvidManager {
  acquire(identity: Identity, selectors: readonly Selector[]): SvidSubscription;
  fetchJwt(
    identity: Identity,
    audience: readonly string[],
    selectors: readonly Selector[],
  ): Promise<HeldJwtSvid>;
}
