import type { AuditEvent, Revocation, StoredCrl } from '../domain/index.ts';

/** Revocations of leaves, and the CRLs that were signed; see Store for what holds of every method. */
export interface RevocationStore {
  /**
   * Moves the revision, and ends what the certificate was a right to: no transaction after this one issues for a caller that
   * presented it. NOT_FOUND for an unknown serial; one that is revoked already stays as it is, without a second event.
   */
  revoke(revocation: Omit<Revocation, 'authorityId' | 'notAfter'>, event: AuditEvent): Promise<Revocation>;
  bySerial(serial: string): Promise<Revocation | undefined>;
  /** Of certificates of this authority that end at `endingFrom` or later, in the order of revocation. */
  list(authorityId: string, endingFrom: number): Promise<readonly Revocation[]>;
  /** Replaces the one before; CONFLICT unless its number is higher. Moves the revision. */
  saveCrl(crl: StoredCrl, event: AuditEvent): Promise<void>;
  crls(): Promise<readonly StoredCrl[]>;
}
