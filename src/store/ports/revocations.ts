import type { AuditEvent, Revocation, StoredCrl } from '../../domain/index.ts';

/**
 * Revocations of leaves, and signed CRLs; see Store for the rules of every method. The log, not
 * these rows, decides what is revoked. A recorded revocation whose row was lost is written again. A
 * row that was inserted past the log is overwritten.
 */
export interface RevocationStore {
  /**
   * Revokes a certificate and moves the revision. No later transaction issues for a caller with
   * this certificate. NOT_FOUND for an unknown serial without a place. A certificate that is already revoked is not
   * changed, and no second event is recorded; but a compromise raises an earlier reason, at the
   * time of the first revocation, and is recorded as `certificate.compromised`. The details of the revocation are added to the
   * event's detail.
   */
  revoke(revocation: RevocationOrder, event: AuditEvent): Promise<Revocation>;
  /**
   * The same for several certificates, in one transaction: all or none. undefined for an unknown
   * serial without a place, which is left out. INVALID_REQUEST above `revokedAtOnce` items.
   */
  revokeMany(
    orders: readonly { readonly revocation: RevocationOrder; readonly event: AuditEvent }[],
  ): Promise<readonly (Revocation | undefined)[]>;
  /**
   * Records again a revocation that a restore has lost, as its record states it. The certificate
   * may have been lost as well.
   */
  revokeAgain(revocation: Revocation, event: AuditEvent): Promise<Revocation>;
  row(serial: string): Promise<Revocation | undefined>;
  /** In the order of their serials, starting after `after`. */
  page(after: string | undefined, limit: number): Promise<readonly Revocation[]>;
  /**
   * Replaces the previous CRL of this authority and shard. CONFLICT unless its number is higher than every recorded one. Moves
   * the revision.
   */
  saveCrl(crl: StoredCrl, event: AuditEvent): Promise<void>;
  /** The CRL of an ended shard is removed, and never comes back. Moves the revision. */
  dropCrl(place: CrlPlace, event: AuditEvent): Promise<void>;
  /** The places of all CRLs, by authority and shard. */
  crlPlaces(): Promise<readonly CrlPlace[]>;
  crl(place: CrlPlace): Promise<StoredCrl | undefined>;
}

/** Where a CRL is kept. */
export type CrlPlace = Pick<StoredCrl, 'authorityId' | 'shard'>;

type Place = Pick<Revocation, 'authorityId' | 'notAfter' | 'shard'>;

/** What a revocation states itself; the rest comes from the inventory. */
export type RevocationOrder = Omit<Revocation, keyof Place> & {
  /** As the caller has proved it; absent: as the inventory has it now. */
  readonly place?: Place;
  /** No CRL lists it, and no OCSP answer says it: the certificate carries noRevAvail. */
  readonly unlisted?: boolean;
};
