import type {
  AcmeAccount,
  AcmeOrder,
  AuditEvent,
  EabKey,
  RightEnded,
  Rights,
  TokenUse,
} from '../../domain/index.ts';
import type { Lease } from './leases.ts';
import type { Page, PageRequest } from './pages.ts';

/**
 * The mark that a nonce was used. It is written in the transaction of the effect: a second request
 * with the same nonce has none (ACME_NONCE_USED), whichever replica gets it.
 */
export interface NonceMark {
  readonly id: string;
  /** Unix seconds. From then on the nonce is refused without its mark. */
  readonly expiresAt: number;
}

/** The mark that a token was used, and its record. */
export interface TokenMark {
  readonly use: Omit<TokenUse, 'serial' | 'endedAt'>;
  readonly event: AuditEvent;
}

/** One write of ACME. */
export interface AcmeWrite {
  /** Absent: the server itself writes. */
  readonly nonce?: NonceMark | undefined;
  /** The token of another issuer that leads to it, which counts once (TOKEN_REPLAYED). */
  readonly token?: TokenMark | undefined;
  /** Judged in the transaction. The first one that has ended is thrown with its code. */
  readonly rights: Rights;
  readonly event: AuditEvent;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Which process attempts to issue an order, and until when. Nothing rests on it but that two
 * processes do not do the same work.
 */
export interface OrderLease {
  readonly holder: string;
  readonly nowMs: number;
  readonly expiresAtMs: number;
}

/** Keys for external account binding. */
export interface EabKeyStore {
  byId(id: string): Promise<EabKey | undefined>;
  list(
    filter: {
      readonly tenant?: string | undefined;
      readonly includeEnded: boolean;
      readonly now: number;
    },
    page: PageRequest,
  ): Promise<Page<EabKey>>;
  /** The right `eab-key` of each of these IDs, as the next transaction would judge it. */
  ends(ids: readonly string[], now: number): Promise<readonly (RightEnded | undefined)[]>;
  create(key: EabKey, write: AcmeWrite): Promise<void>;
  /** Replaces the row with the version before. NOT_FOUND, CONFLICT. */
  update(key: EabKey, write: AcmeWrite): Promise<void>;
  /** Ends it for ever: removes its row, whatever that says, and records it as deleted. */
  forget(id: string, event: AuditEvent): Promise<void>;
}

export interface AcmeAccountStore {
  byId(id: string): Promise<AcmeAccount | undefined>;
  byThumbprint(thumbprint: string): Promise<AcmeAccount | undefined>;
  list(
    filter: {
      readonly tenant?: string | undefined;
      readonly eabKeyId?: string | undefined;
      readonly status?: AcmeAccount['status'] | undefined;
    },
    page: PageRequest,
  ): Promise<Page<AcmeAccount>>;
  /**
   * Also binds a `single` EAB key to it. ALREADY_EXISTS if its key is that of another account;
   * EAB_KEY_ENDED if the EAB key is bound to another one.
   */
  create(account: AcmeAccount, write: AcmeWrite): Promise<void>;
  /** Replaces the row with the version before. NOT_FOUND, CONFLICT; ALREADY_EXISTS as above. */
  update(account: AcmeAccount, write: AcmeWrite): Promise<void>;
  /** As of an EAB key. */
  forget(id: string, event: AuditEvent): Promise<void>;
}

export interface AcmeOrderStore {
  byId(id: string): Promise<AcmeOrder | undefined>;
  /** The order that led to a certificate. */
  bySerial(serial: string): Promise<AcmeOrder | undefined>;
  /** The order that replaces a certificate and has not failed (RFC 9773 section 5). */
  replacing(serial: string): Promise<AcmeOrder | undefined>;
  list(
    filter: {
      readonly accountId?: string | undefined;
      readonly tenant?: string | undefined;
      readonly stage?: AcmeOrder['stage'] | undefined;
    },
    page: PageRequest,
  ): Promise<Page<AcmeOrder>>;
  /** Whether an order that replaces a certificate was made, whatever became of it. */
  wasReplaced(serial: string): Promise<boolean>;
  /** Orders whose certificate is to be issued, the oldest first. */
  finalizing(page: PageRequest): Promise<Page<AcmeOrder>>;
  /** Open orders with a challenge that is to be validated, likewise. */
  validating(page: PageRequest): Promise<Page<AcmeOrder>>;
  /** CONFLICT if another order replaces the same certificate. */
  create(order: AcmeOrder, write: AcmeWrite): Promise<void>;
  /**
   * Replaces the row with the version before. NOT_FOUND, CONFLICT. ACME_ORDER_ENDED if it becomes
   * finalizing, and was not ready. `lease`: taken with the change.
   */
  update(
    order: AcmeOrder,
    write: AcmeWrite & { readonly lease?: OrderLease | undefined },
  ): Promise<void>;
  /**
   * Takes the lease on an order that is finalizing, or renews it. False: another process has it, or
   * the order is not finalizing.
   */
  acquire(id: string, lease: OrderLease): Promise<boolean>;
  /** Frees the lease, if this process has it. */
  release(id: string, holder: string): Promise<void>;
  /**
   * Forgets orders that ended before this time, their certificate included: at most `limit` rows
   * behind `after`, in the order of their end. An order that is finalizing stays. Each removal is
   * recorded. A row that the log does not vouch for stays. `next`: the last row; undefined: there
   * are no more. LEASE_LOST.
   */
  prune(
    which: { readonly endedBefore: number; readonly after?: AcmeOrderPlace | undefined },
    limit: number,
    lease: Lease,
    event: (order: AcmeOrder) => AuditEvent,
  ): Promise<{ readonly removed: number; readonly next: AcmeOrderPlace | undefined }>;
}

export interface AcmeOrderPlace {
  readonly endsAt: number;
  readonly id: string;
}

export interface EabKeyPlace {
  readonly expiresAt: number;
  readonly id: string;
}

export interface AcmeStore {
  readonly eabKeys: EabKeyStore;
  readonly accounts: AcmeAccountStore;
  readonly orders: AcmeOrderStore;
  /**
   * Forgets keys that were exchanged and expired before this time, with their accounts: at most
   * `limit` keys behind `after`, in the order of their expiry. A key stays while an order of its
   * account is there. Each removal is recorded. What the log does not vouch for stays. `next`: the
   * last row; undefined: there are no more. LEASE_LOST.
   */
  pruneExchanged(
    which: { readonly expiredBefore: number; readonly after?: EabKeyPlace | undefined },
    limit: number,
    lease: Lease,
    events: {
      key(key: EabKey): AuditEvent;
      account(account: AcmeAccount): AuditEvent;
    },
  ): Promise<{ readonly removed: number; readonly next: EabKeyPlace | undefined }>;
  /** For an effect that is written elsewhere. ACME_NONCE_USED. */
  useNonce(nonce: NonceMark): Promise<void>;
  /** Forgets marks of nonces that have expired. Returns how many. LEASE_LOST. */
  pruneNonces(now: number, limit: number, lease: Lease): Promise<number>;
}
