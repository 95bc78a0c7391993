import type { AuditEvent, Revocation, StoredCrl } from '../../domain/index.ts';

/**
 * Revocations of leaves, and the CRLs that were signed; see Store for what holds of every method.
 * What is revoked is what the log says: a row that was deleted or changed ends no revocation, one
 * that was put in revokes nothing, and each look at such a row is an ObjectMismatch.
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
  /** At once, and without a look at the table. */
  revoked(serial: string): boolean;
  bySerial(serial: string): Promise<Revocation | undefined>;
  /**
   * Of certificates of this authority that end at `endingFrom` or later, in the order of
   * revocation.
   */
  list(authorityId: string, endingFrom: number): Promise<readonly Revocation[]>;
  /**
   * Replaces the one before; CONFLICT unless its number is higher than `highestCrlNumber`. Moves
   * the revision.
   */
  saveCrl(crl: StoredCrl, event: AuditEvent): Promise<void>;
  /** Those that are as the log has them. */
  crls(): Promise<readonly StoredCrl[]>;
  /** Of the CRLs of this authority that are on record, 0 without any. */
  highestCrlNumber(authorityId: string): Promise<number>;
  /**
   * Of the CRLs from outside that are on record, the highest number by their issuer (`crlNumber` in
   * the event's detail): up to 20 octets. 0 without any.
   */
  issuerCrlNumber(authorityId: string): Promise<bigint>;
}
