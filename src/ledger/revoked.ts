import {
  crlId,
  loggedRevocation,
  unlistedShard,
  type LoggedObject,
  type Revocation,
} from '../domain/index.ts';
import { RevokedTable, type CopiedRevocation } from './revoked-table.ts';

export interface RevokedCopy {
  /** Made while they are read, in an order that depends on the content only. */
  readonly revocations: Iterable<CopiedRevocation>;
  readonly crls: readonly CrlFacts[];
}

/** What the log says of the newest CRL of an authority and shard. */
interface CrlFacts {
  /** See `crlId`. */
  readonly id: string;
  readonly number: number;
  readonly issuerNumber: string;
  /** How many revocations were on record when it was built; -1: its record does not say. */
  readonly covers: number;
}

/** A number of revocations in one memory. In another memory it means nothing. */
export interface RevokedMark {
  readonly length: number;
  readonly of: object;
}

/** What a CRL is about: one shard of an authority, or all that the authority signed. */
export interface RevokedScope {
  readonly authorityId: string;
  readonly shard: number | 'all';
}

/**
 * Revocations and CRL numbers, complete as the records state them. A digest could only show that a
 * row is missing or changed. A revocation must stay in force, and its CRL must list it, also
 * without the row.
 */
export class Revoked {
  readonly #table = new RevokedTable();
  readonly #crls = new Map<string, CrlFacts>();

  /** Records of other kinds are ignored. */
  apply(object: LoggedObject): void {
    if (object.kind === 'crl') this.#applyCrl(object);
    if (object.kind === 'revocation') this.add(loggedRevocation(object));
  }

  /**
   * False if the serial is revoked already: the first record counts. A later one can only raise its
   * reason.
   */
  add(revocation: Revocation): boolean {
    if (this.#table.add(revocation)) return true;
    this.#table.raise(revocation);
    return false;
  }

  get(serial: string): Revocation | undefined {
    const row = this.#table.find(serial);
    return row < 0 ? undefined : this.#table.at(row);
  }

  has(serial: string): boolean {
    return this.#table.find(serial) >= 0;
  }

  get size(): number {
    return this.#table.size;
  }

  /** The place of a serial among the records, from 0; -1: it is not revoked. */
  placeOf(serial: string): number {
    return this.#table.find(serial);
  }

  /** Whether the revocation at such a place has a later place, since its reason was raised. */
  isReplaced(place: number): boolean {
    return this.#table.isReplaced(place);
  }

  /** The revocation at such a place. */
  atPlace(place: number): Revocation {
    return this.#table.at(place);
  }

  /**
   * How many were revoked. The time depends on the number of the authority's shards only.
   */
  mark(scope: RevokedScope): RevokedMark {
    const length = this.#lists(scope).reduce((sum, { rows }) => sum + rows.length, 0);
    return { length, of: this };
  }

  /**
   * Entries of a CRL in the form of `readEntries`, of the certificates that end at `endingFrom` or
   * later, in steps of less than a millisecond.
   */
  *entries(scope: RevokedScope, endingFrom: number): Generator<Uint8Array> {
    for (const list of this.#lists(scope)) yield* this.#table.entries(list, endingFrom);
  }

  /** How many were revoked, of all authorities: the places that `between` reads. */
  extent(): RevokedMark {
    return { length: this.#table.length, of: this };
  }

  /** The listed revocations of this authority in a stretch of the records, in their order. */
  *between(authorityId: string, from: number, to: number): Generator<Revocation> {
    for (const revocation of this.#table.between(authorityId, from, to))
      if (revocation.shard !== unlistedShard) yield revocation;
  }

  /** In the order of their records. Includes revocations that are added during the iteration. */
  *of(scope: RevokedScope): Generator<Revocation> {
    for (const { rows } of this.#lists(scope))
      for (const row of rows) if (!this.#table.isReplaced(row)) yield this.#table.at(row);
  }

  /** The shards with revocations, and the latest notAfter of these. */
  shards(
    authorityId: string,
  ): readonly { readonly shard: number; readonly lastNotAfter: number }[] {
    return this.#table.listsOf(authorityId).filter(({ shard }) => shard > 0);
  }

  /** The highest number of the CRL with this ID (`crlId`); 0 without any. */
  crlNumber(id: string): number {
    return this.#crls.get(id)?.number ?? 0;
  }

  /** The highest number that the issuer of an imported CRL gave to it. */
  issuerCrlNumber(id: string): bigint {
    return BigInt(this.#crls.get(id)?.issuerNumber ?? '0');
  }

  /**
   * How many revocations were on record when the newest CRL was built; undefined if its record does
   * not say.
   */
  crlCovers(authorityId: string, shard: number): number | undefined {
    const covers = this.#crls.get(crlId(authorityId, shard))?.covers ?? -1;
    return covers < 0 ? undefined : covers;
  }

  copy(): RevokedCopy {
    const table = this.#table;
    const { length } = table;
    return {
      revocations: { [Symbol.iterator]: () => table.inContentOrder(length) },
      crls: [...this.#crls.values()].sort((one, other) => (one.id < other.id ? -1 : 1)),
    };
  }

  restore({ revocations, crls }: RevokedCopy): void {
    for (const revocation of revocations) this.#table.restore(revocation);
    for (const facts of crls) this.#crls.set(facts.id, facts);
  }

  #lists({ authorityId, shard }: RevokedScope) {
    if (shard === 'all')
      return this.#table.listsOf(authorityId).filter((list) => list.shard !== unlistedShard);
    const list = this.#table.list(authorityId, shard);
    return list === undefined ? [] : [list];
  }

  #applyCrl({ id, sha256, detail }: LoggedObject): void {
    if (sha256 === '') {
      this.#crls.delete(id);
      return;
    }
    const { number, crlNumber, revocations } = detail;
    const before = this.issuerCrlNumber(id);
    const byIssuer = typeof crlNumber === 'string' ? BigInt(crlNumber) : 0n;
    this.#crls.set(id, {
      id,
      number: Math.max(this.crlNumber(id), number as number),
      issuerNumber: String(byIssuer > before ? byIssuer : before),
      covers: typeof revocations === 'number' ? revocations : -1,
    });
  }
}
