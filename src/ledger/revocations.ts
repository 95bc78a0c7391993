import { isDeepStrictEqual } from 'node:util';
import { setImmediate } from 'node:timers/promises';
import { crlId, type CrlShard, type Revocation, type StoredCrl } from '../domain/index.ts';
import type { RevocationStore } from '../store/ports/index.ts';
import type { CrlShards } from './crl-shards.ts';
import type { Objects } from './objects.ts';
import type { RevokedMark, RevokedScope } from './revoked.ts';

/**
 * The log decides what is revoked. A deleted or changed row ends no revocation, and an inserted row
 * revokes nothing. Each look at such a row is an ObjectMismatch.
 */
export interface LedgerRevocations
  extends Pick<RevocationStore, 'revoke' | 'revokeMany' | 'revokeAgain' | 'saveCrl' | 'dropCrl'> {
  /** Answers at once, from memory. */
  revoked(serial: string): boolean;
  /** The revocation as the log states it. Answers at once, from memory. */
  revocation(serial: string): Revocation | undefined;
  bySerial(serial: string): Promise<Revocation | undefined>;
  /** At once, from memory: see `Revoked.extent`. */
  extent(): RevokedMark;
  /** From memory, as they are read: see `Revoked.between`. */
  between(authorityId: string, from: number, to: number): Iterable<Revocation>;
  /** Answers at once, from memory: see `Revoked.mark`. */
  mark(scope: RevokedScope): RevokedMark;
  /** From memory: see `Revoked.entries`. */
  entries(scope: RevokedScope, endingFrom: number): Iterable<Uint8Array>;
  /**
   * The revocations of one shard, or of all that the authority signed; from memory, made as they are
   * read.
   */
  revokedOf(authorityId: string, shard: number | 'all'): Iterable<Revocation>;
  /**
   * The shards of an authority in the order in which they were opened, also those that only
   * revocations name. At once, from memory.
   */
  shards(authorityId: string): readonly CrlShard[];
  /** See `Revoked.crlCovers`. */
  crlCovers(authorityId: string, shard: number): number | undefined;
  /**
   * Compares every row with the log, some rows per turn of the event loop, and announces each
   * difference. Decides nothing.
   */
  compareRows(): Promise<void>;
  /** The CRLs that the log vouches for, read one per turn of the event loop. */
  crls(): Promise<readonly StoredCrl[]>;
  /** The highest recorded CRL number of this authority and shard; 0 without any. */
  highestCrlNumber(authorityId: string, shard: number): Promise<number>;
  /**
   * The highest recorded number that the issuer gave to an imported CRL (`crlNumber` in the event's
   * detail), up to 20 octets. 0 without any.
   */
  issuerCrlNumber(authorityId: string): Promise<bigint>;
}

/** The number of rows per turn of the event loop: less than a millisecond, also after a start. */
const rowsATurn = 64;

export function ledgerRevocations(
  rows: RevocationStore,
  objects: Objects,
  shards: CrlShards,
): LedgerRevocations {
  /**
   * Compares the row with the log before and after the read: a revocation during the read may
   * appear in either one first.
   */
  const bySerial = async (serial: string): Promise<Revocation | undefined> => {
    const before = objects.revoked.get(serial);
    const row = await rows.row(serial);
    const logged = objects.revoked.get(serial);
    // nothing but its reason is ever changed
    if (logged?.reason === before?.reason) objects.sameRow('revocation', serial, row);
    return logged;
  };
  return {
    revoke: (revocation, event) => rows.revoke(revocation, event),
    revokeMany: (orders) => rows.revokeMany(orders),
    revokeAgain: (revocation, event) => rows.revokeAgain(revocation, event),
    saveCrl: (crl, event) => rows.saveCrl(crl, event),
    dropCrl: (place, event) => rows.dropCrl(place, event),
    revoked: (serial) => objects.revoked.has(serial),
    revocation: (serial) => objects.revoked.get(serial),
    bySerial,
    extent: () => objects.revoked.extent(),
    between: (authorityId, from, to) => objects.revoked.between(authorityId, from, to),
    mark: (scope) => objects.revoked.mark(scope),
    entries: (scope, endingFrom) => objects.revoked.entries(scope, endingFrom),
    revokedOf: (authorityId, shard) => objects.revoked.of({ authorityId, shard }),
    shards: (authorityId) => shardsOf(authorityId, objects, shards),
    crlCovers: (authorityId, shard) => objects.revoked.crlCovers(authorityId, shard),
    compareRows: () => compareRows(rows, objects, bySerial),
    crls: () => provenCrls(rows, objects),
    highestCrlNumber: (authorityId, shard) =>
      Promise.resolve(objects.revoked.crlNumber(crlId(authorityId, shard))),
    issuerCrlNumber: (authorityId) => Promise.resolve(objects.revoked.issuerCrlNumber(authorityId)),
  };
}

async function compareRows(
  rows: RevocationStore,
  { revoked }: Objects,
  announce: (serial: string) => Promise<unknown>,
): Promise<void> {
  const expected = revoked.size;
  const places = revoked.extent().length;
  const met = new Uint8Array(places);
  let same = 0;
  let after: string | undefined;
  do {
    const page = await rows.page(after, rowsATurn);
    for (const row of page) {
      const place = revoked.placeOf(row.serial);
      if (place >= 0 && place < places) met[place] = 1;
      if (place >= 0 && isDeepStrictEqual(row, revoked.atPlace(place))) same += 1;
      else await announce(row.serial);
    }
    after = page.length < rowsATurn ? undefined : page.at(-1)?.serial;
    await setImmediate();
  } while (after !== undefined);
  // all rows are equal, and their number is that of the log: none is missing
  if (same >= expected) return;
  for (let place = 0; place < places; place += 1) {
    if (met[place] === 0 && !revoked.isReplaced(place))
      await announce(revoked.atPlace(place).serial);
    if (place % rowsATurn === 0) await setImmediate();
  }
}

/** A CRL may be long, so that one is read and compared in a turn of the loop. */
async function provenCrls(rows: RevocationStore, objects: Objects): Promise<readonly StoredCrl[]> {
  const proven: StoredCrl[] = [];
  for (const place of await rows.crlPlaces()) {
    const crl = await rows.crl(place);
    if (crl !== undefined && objects.prove('crl', crl) !== undefined) proven.push(crl);
    await setImmediate();
  }
  return proven;
}

function shardsOf(authorityId: string, { revoked }: Objects, shards: CrlShards) {
  const known = shards.of(authorityId);
  const more = revoked
    .shards(authorityId)
    .filter(({ shard }) => shards.get(authorityId, shard) === undefined)
    .map(({ shard, lastNotAfter }): CrlShard => ({ shard, url: '', leaves: 0, lastNotAfter }));
  if (more.length === 0) return known;
  return [...known, ...more].sort((one, other) => one.shard - other.shard);
}
