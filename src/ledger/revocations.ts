import { isDeepStrictEqual } from 'node:util';
import { setImmediate } from 'node:timers/promises';
import type { Revocation, StoredCrl } from '../domain/index.ts';
import type { RevocationStore } from '../store/ports/index.ts';
import type { Objects } from './objects.ts';
import type { RevokedMark, RevokedSince } from './revoked.ts';

/**
 * The log decides what is revoked. A deleted or changed row ends no revocation, and an inserted row
 * revokes nothing. Each look at such a row is an ObjectMismatch.
 */
export interface LedgerRevocations
  extends Pick<RevocationStore, 'revoke' | 'revokeAgain' | 'saveCrl'> {
  /** Answers at once, from memory. */
  revoked(serial: string): boolean;
  /** The revocation as the log states it. Answers at once, from memory. */
  revocation(serial: string): Revocation | undefined;
  bySerial(serial: string): Promise<Revocation | undefined>;
  /** Answers at once, from memory: see `Revoked.since`. */
  since(authorityId: string, mark: RevokedMark | undefined): RevokedSince;
  /**
   * Compares every row with the log, some rows per turn of the event loop, and announces each
   * difference. Decides nothing.
   */
  compareRows(): Promise<void>;
  /** The CRLs that the log vouches for. */
  crls(): Promise<readonly StoredCrl[]>;
  /** The highest recorded CRL number of this authority; 0 without any. */
  highestCrlNumber(authorityId: string): Promise<number>;
  /**
   * The highest recorded number that the issuer gave to an imported CRL (`crlNumber` in the event's
   * detail), up to 20 octets. 0 without any.
   */
  issuerCrlNumber(authorityId: string): Promise<bigint>;
}

/** The number of rows per turn of the event loop: about a millisecond. */
const rowsATurn = 200;

export function ledgerRevocations(rows: RevocationStore, objects: Objects): LedgerRevocations {
  /**
   * Compares the row with the log before and after the read: a revocation during the read may
   * appear in either one first.
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
    revocation: (serial) => objects.revoked.get(serial),
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
  const met = new Set<string>();
  let same = 0;
  let after: string | undefined;
  do {
    const page = await rows.page(after, rowsATurn);
    for (const row of page) {
      met.add(row.serial);
      if (isDeepStrictEqual(row, revoked.get(row.serial))) same += 1;
      else await announce(row.serial);
    }
    after = page.length < rowsATurn ? undefined : page.at(-1)?.serial;
    await setImmediate();
  } while (after !== undefined);
  // all rows are equal, and their number is that of the log: none is missing
  if (same >= expected) return;
  let looked = 0;
  for (const { serial } of revoked.all()) {
    if (!met.has(serial)) await announce(serial);
    looked += 1;
    if (looked % rowsATurn === 0) await setImmediate();
  }
}
