import type { Revocation, StoredCrl } from '../domain/index.ts';
import type { RevocationStore } from '../store/ports/index.ts';
import type { Objects } from './objects.ts';

/**
 * What is revoked is what the log says: a row that was deleted or changed ends no revocation, one
 * that was put in revokes nothing, and each look at such a row is an ObjectMismatch.
 */
export interface LedgerRevocations
  extends Pick<RevocationStore, 'revoke' | 'revokeAgain' | 'saveCrl'> {
  /** At once, and without a look at the table. */
  revoked(serial: string): boolean;
  bySerial(serial: string): Promise<Revocation | undefined>;
  /**
   * Of certificates of this authority that end at `endingFrom` or later, in the order of
   * revocation.
   */
  list(authorityId: string, endingFrom: number): Promise<readonly Revocation[]>;
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

export function ledgerRevocations(rows: RevocationStore, objects: Objects): LedgerRevocations {
  /**
   * Rows are compared with what is on record before and after they were read: what is revoked
   * meanwhile is on record before it is in them, or the other way round.
   */
  const compared = async <Rows>(
    authorityOrSerial: () => readonly Revocation[],
    read: () => Promise<Rows>,
    bySerial: (found: Rows) => ReadonlyMap<string, Revocation>,
  ): Promise<readonly Revocation[]> => {
    const listed = authorityOrSerial();
    const before = new Map(listed.map((each) => [each.serial, each]));
    const found = bySerial(await read());
    for (const serial of new Set([...found.keys(), ...before.keys()]))
      if (objects.revoked.get(serial) === before.get(serial))
        objects.sameRow('revocation', serial, found.get(serial));
    return listed;
  };
  return {
    revoke: (revocation, event) => rows.revoke(revocation, event),
    revokeAgain: (revocation, event) => rows.revokeAgain(revocation, event),
    saveCrl: (crl, event) => rows.saveCrl(crl, event),
    revoked: (serial) => objects.revoked.get(serial) !== undefined,
    bySerial: async (serial) => {
      const [known] = await compared(
        () => [objects.revoked.get(serial)].filter((each) => each !== undefined),
        () => rows.row(serial),
        (row) => new Map(row === undefined ? [] : [[serial, row]]),
      );
      return known;
    },
    list: (authorityId, endingFrom) =>
      compared(
        () => objects.revoked.of(authorityId, endingFrom),
        () => rows.rows(authorityId, endingFrom),
        (found) => new Map(found.map((each) => [each.serial, each])),
      ),
    crls: async () => (await rows.crls()).filter((crl) => objects.prove('crl', crl) !== undefined),
    highestCrlNumber: (authorityId) => Promise.resolve(objects.revoked.crlNumber(authorityId)),
    issuerCrlNumber: (authorityId) => Promise.resolve(objects.revoked.issuerCrlNumber(authorityId)),
  };
}
