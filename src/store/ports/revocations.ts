import type { AuditEvent, Revocation, StoredCrl } from '../../domain/index.ts';

/**
 * Revocations of leaves, and the CRLs that were signed; see Store for what holds of every method.
 * What is revoked is what the log says, and not these rows: a revocation that is on record is
 * written again where its row was lost, and one that was put in beside the log is overwritten.
 */
export interface RevocationStore {
  /**
   * Moves the revision, and ends what the certificate was a right to: no transaction after this one
   * issues for a caller that presented it. NOT_FOUND for an unknown serial; one that is revoked
   * already stays as it is, without a second event. The revocation's particulars are added to the
   * event's detail.
   */
  revoke(
    revocation: Omit<Revocation, 'authorityId' | 'notAfter'>,
    event: AuditEvent,
  ): Promise<Revocation>;
  /**
   * A revocation that a restore has lost, as its record said it: the certificate may be of the lost
   * time as well.
   */
  revokeAgain(revocation: Revocation, event: AuditEvent): Promise<Revocation>;
  row(serial: string): Promise<Revocation | undefined>;
  /** In the order of their serials, from the one after `after` on. */
  page(after: string | undefined, limit: number): Promise<readonly Revocation[]>;
  /**
   * Replaces the one before; CONFLICT unless its number is higher than each one that is on record. Moves
   * the revision.
   */
  saveCrl(crl: StoredCrl, event: AuditEvent): Promise<void>;
  crls(): Promise<readonly StoredCrl[]>;
}
