import type { AuditEvent, TokenUse } from '../../domain/index.ts';
import type { Lease } from './leases.ts';

/** Marks of tokens that count once. Each is as the log has it, or OBJECT_NOT_IN_LOG. */
export interface TokenUseStore {
  byId(id: string): Promise<TokenUse | undefined>;
  /**
   * Records the first use. Returns the present mark: where another use came first, that one, and no
   * event is recorded.
   */
  bind(use: Omit<TokenUse, 'serial' | 'endedAt'>, event: AuditEvent): Promise<TokenUse>;
  /**
   * Records the certificate that the use led to. NOT_FOUND; CONFLICT if it led to another one. A
   * repetition changes nothing.
   */
  settle(id: string, serial: string, event: AuditEvent): Promise<TokenUse>;
  /** Its holder gave the use back. NOT_FOUND. A repetition changes nothing. */
  end(id: string, now: number, event: AuditEvent): Promise<TokenUse>;
  /**
   * Looks at the next `limit` marks of tokens that ended before that instant, oldest first, and
   * forgets each. A row that the log does not have as it is stays. `event` records each mark that is
   * forgotten. LEASE_LOST without the lease.
   */
  prune(
    which: { readonly expiredBefore: number; readonly after: TokenUsePlace | undefined },
    limit: number,
    lease: Lease,
    event: (use: TokenUse) => AuditEvent,
  ): Promise<{ readonly removed: number; readonly next: TokenUsePlace | undefined }>;
}

/** The place of a mark in the order in which they end. */
export type TokenUsePlace = Pick<TokenUse, 'expiresAt' | 'id'>;
