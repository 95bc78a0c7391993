import type { AuditEvent, Revocation, StoredCrl } from '../../domain/index.ts';

/**
 * Revocations of leaves, and signed CRLs; see Store for the rules of every method. The log, not
 * these rows, decides what is revoked. A recorded revocation whose row was lost is written again. A
 * row that was inserted past the log is overwritten.
 */
export interface RevocationStore {
  /**
   * Revokes a certificate and moves the revision. No later transaction issues for a caller with
   * this certificate. NOT_FOUND for an unknown serial. A certificate that is already revoked is not
   * changed, and no second event is recorded. The details of the revocation are added to the
   * event's detail.
   */
  revoke(
    revocation: Omit<Revocation, 'authorityId' | 'notAfter'>,
    event: AuditEvent,
  ): Promise<Revocation>;
  /**
   * Records again a revocation that a restore has lost, as its record states it. The certificate
   * may have been lost as well.
   */
  revokeAgain(revocation: Revocation, event: AuditEvent): Promise<Revocation>;
  row(serial: string): Promise<Revocation | undefined>;
  /** In the order of their serials, starting after `after`. */
  page(after: string | undefined, limit: number): Promise<readonly Revocation[]>;
  /**
   * Replaces the previous CRL. CONFLICT unless its number is higher than every recorded one. Moves
   * the revision.
   */
  saveCrl(crl: StoredCrl, event: AuditEvent): Promise<void>;
  crls(): Promise<readonly StoredCrl[]>;
}
