import type { PkiError, Result } from '../../src/common/errors/index.ts';
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
   * Resolves with the first SVID. Rejects with the refusal, or with NOT_SYNCED or UNREACHABLE after
   * `signal` or its own deadline.
   */
  ready(signal?: AbortSignal): Promise<HeldX509Svid>;
  onUpdate(listener: (svid: HeldX509Svid) => void): () => void;
  /**
   * Reports that the holder has read this SVID, which confirms the replacement of the one before.
   */
  confirm(serial: string): void;
  release(): void;
}

/** What a workload would receive for one identity now. */
export type Standing =
  | { readonly kind: 'held'; readonly notAfter: number }
  | { readonly kind: 'refused'; readonly error: PkiError }
  /** Nobody has requested it yet, or the request is under way. */
  | { readonly kind: 'not held' };

export interface HeldJwtSvid {
  readonly spiffeId: SpiffeId;
  readonly token: string;
  readonly expiresAt: number;
  readonly hint: string;
}

/**
 * Owner of the workload keys. SVIDs exist for identities in use and for a bounded number of others:
 * those kept warm after release (LRU), and entries with few selectors ahead of use. Concurrent
 * requests for new SVIDs share batches.
 */
export interface SvidManager {
  acquire(identity: Identity, selectors: readonly Selector[]): SvidSubscription;
  fetchJwt(
    identity: Identity,
    audience: readonly string[],
    selectors: readonly Selector[],
  ): Promise<HeldJwtSvid>;
}

/** A request for a certificate of a key that stays with its holder. */
export interface CsrToSign {
  /** The same ID and key get the recorded certificate again. */
  readonly requestId: string;
  readonly csrDer: Buffer;
  readonly spkiDer: Buffer;
  /** Brought into the limits of entry and server. 0: as long as the entry says. */
  readonly ttlSeconds: number;
}

export interface CertifiedKey {
  /** Leaf first, without the root. */
  readonly chainDer: readonly Buffer[];
  readonly notAfter: number;
}

/**
 * Certifies keys of callers. The agent neither has such a key nor renews its certificate. Fails with the
 * refusal of the server. Rejects with the failure of the call, whose answer may be lost, or with
 * SVID_INVALID: the same request may then come again.
 */
export interface CsrSigner {
  certify(
    identity: Identity,
    selectors: readonly Selector[],
    csr: CsrToSign,
  ): Promise<Result<CertifiedKey>>;
}
