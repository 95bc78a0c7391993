import { isDeepStrictEqual } from 'node:util';
import { setImmediate } from 'node:timers/promises';
import type { Revocation, StoredCrl } from '../domain/index.ts';
import type { RevocationStore } from '../store/ports/index.ts';
import type { Objects } from './objects.ts';
import type { RevokedMark, RevokedSince } from './revoked.ts';

/**
 * What is revoked is what the log says: a row that was deleted or changed ends no revocation, one
 * that was put in revokes nothing, and each look at such a row is an ObjectMismatch.
 */
export interface LedgerRevocations
  extends Pick<RevocationStore, 'revoke' | 'revokeAgain' | 'saveCrl'> {
  /** At once, and without a look at the table. */
  revoked(serial: string): boolean;
  bySerial(serial: string): Promise<Revocation | undefined>;
  /** At once, without a look at the table: see `Revoked.since`. */
  since(authorityId: string, mark: RevokedMark | undefined): RevokedSince;
  /**
   * Looks at every row, some in a turn of the loop, and announces each that is not as the log has
   * it. Decides nothing.
   */
  compareRows(): Promise<void>;
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

/** Rows in one turn of the loop: about a millisecond. */
const rowsATurn = 200;

export function ledgerRevocations(rows: RevocationStore, objects: Objects): LedgerRevocations {
  /**
   * The row is compared with what is on record before and after it was read: what is revoked
   * meanwhile is on record before it is in the row, or the other way round.
   */
  const bySerial = async (serial: string): Promise<Revocation | undefined> => {
    const before = objects.revoked.get(serial);
    const row = await rows.row(serial);
    if (objects.revoked.get(serial) === before) objects.sameRow('revocation', serial, row);
    return before;
  };
  return {
    revoke: (revocation, event) => rows.revoke(revocation, event),
    revokeAgain: (revocation, event) => rows.revokeAgain(revocation, event),
    saveCrl: (crl, event) => rows.saveCrl(crl, event),
    revoked: (serial) => objects.revoked.get(serial) !== undefined,
    bySerial,
    since: (authorityId, mark) => objects.revoked.since(authorityId, mark),
    compareRows: () => compareRows(rows, objects, bySerial),
    crls: async () => (await rows.crls()).filter((crl) => objects.prove('crl', crl) !== undefined),
    highestCrlNumber: (authorityId) => Promise.resolve(objects.revoked.crlNumber(authorityId)),
    issuerCrlNumber: (authorityId) => Promise.resolve(objects.revoked.issuerCrlNumber(authorityId)),
  };
}

async function compareRows(
  rows: RevocationStore,
  { revoked }: Objects,
  announce: (serial: string) => Promise<unknown>,
): Promise<void> {
  const expected = revoked.size;
  let same = 0;
  let after: string | undefined;
  do {
    const page = await rows.page(after, rowsATurn);
    for (const row of page) {
      if (isDeepStrictEqual(row, revoked.get(row.serial))) same += 1;
      else await announce(row.serial);
    }
    after = page.length < rowsATurn ? undefined : page.at(-1)?.serial;
    await setImmediate();
  } while (after !== undefined);
  // with as many rows as they are on record none is missing
  if (same >= expected) return;
  let looked = 0;
  for (const { serial } of revoked.all()) {
    await announce(serial);
    looked += 1;
    if (looked % rowsATurn === 0) await setImmediate();
  }
}
