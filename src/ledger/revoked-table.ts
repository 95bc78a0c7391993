import {
  raisesReason,
  revocationReasons,
  type Revocation,
  type RevocationReason,
} from '../domain/index.ts';
import { entryBytes, writeEntry } from './revoked-entries.ts';
import { longestSerial, SerialIndex } from './serial-index.ts';

/** Rows of a chunk: no column is ever copied when the table grows. */
const rowsPerChunk = 16_384;
/** Entries that are written without a pause: below a millisecond, also by code that just loaded. */
const entriesPerPart = 200;

interface Chunk {
  readonly serials: Uint8Array;
  readonly lengths: Uint8Array;
  readonly reasons: Uint8Array;
  readonly revokedAt: Float64Array;
  readonly notAfter: Float64Array;
  readonly list: Uint32Array;
  readonly by: Uint32Array;
}

/** The revocations of one shard, or of an authority's leaves without one. */
export interface RevokedList {
  readonly authorityId: string;
  readonly shard: number;
  /** In the order of their records. */
  readonly rows: readonly number[];
  readonly lastNotAfter: number;
}

export interface CopiedRevocation extends Revocation {
  /** It was on record for another reason before. */
  readonly isRaised?: true;
}

type GrowingList = { -readonly [Field in keyof RevokedList]: RevokedList[Field] } & {
  readonly rows: number[];
};

/**
 * Revocations in columns, since an object for each of a million takes some hundred megabytes: here
 * one takes about 60 octets. Rows are only added: one whose reason was raised has a new row, so that
 * whoever looks at new rows sees it. Owner of the columns.
 */
export class RevokedTable {
  readonly #chunks: Chunk[] = [];
  readonly #index = new SerialIndex((row) => this.#serial(row));
  readonly #lists: GrowingList[] = [];
  readonly #listIds = new Map<string, Map<number, number>>();
  readonly #actors: string[] = [];
  readonly #actorIds = new Map<string, number>();
  /** Rows in the place of earlier ones, and the other way round: few. */
  readonly #earlier = new Map<number, number>();
  readonly #later = new Map<number, number>();
  #length = 0;

  /** How many serials are revoked. */
  get size(): number {
    return this.#length - this.#later.size;
  }

  /** How many rows there are. */
  get length(): number {
    return this.#length;
  }

  /** Whether another row is in the place of this one. */
  isReplaced(row: number): boolean {
    return this.#later.has(row);
  }

  /** -1: there is none, or the text is no serial. */
  find(serial: string): number {
    const bytes = bytesOf(serial);
    return bytes === undefined ? -1 : this.#index.find(bytes);
  }

  /**
   * False if the serial is there: the first record of a revocation counts.
   *
   * @throws TypeError if the serial is no lower-case hex of at most 20 octets
   */
  add(revocation: Revocation): boolean {
    const bytes = bytesOf(revocation.serial);
    if (bytes === undefined) throw new TypeError(`${revocation.serial} is no serial`);
    if (this.#index.find(bytes) >= 0) return false;
    this.#index.add(this.#append(revocation, bytes));
    return true;
  }

  /** The serial is there: it is in a new row if this reason counts more. */
  raise({ serial, reason }: Pick<Revocation, 'serial' | 'reason'>): void {
    const before = this.find(serial);
    const known = this.at(before);
    if (!raisesReason(known.reason, reason)) return;
    const row = this.#append({ ...known, reason }, this.#serial(before));
    this.#index.replace(before, row);
    this.#earlier.set(row, before);
    this.#later.set(before, row);
  }

  #append(revocation: Revocation, bytes: Uint8Array): number {
    const row = this.#length;
    const { chunk, at } = this.#place(row);
    chunk.serials.set(bytes, at * longestSerial);
    chunk.lengths[at] = bytes.length;
    chunk.reasons[at] = revocationReasons.indexOf(revocation.reason);
    chunk.revokedAt[at] = revocation.revokedAt;
    chunk.notAfter[at] = revocation.notAfter;
    chunk.by[at] = this.#actor(revocation.revokedBy);
    const listId = this.#listId(revocation);
    chunk.list[at] = listId;
    const list = this.#lists[listId] as GrowingList;
    list.rows.push(row);
    list.lastNotAfter = Math.max(list.lastNotAfter, revocation.notAfter);
    this.#length += 1;
    return row;
  }

  at(row: number): Revocation {
    const { chunk, at } = this.#place(row);
    const { authorityId, shard } = this.#lists[chunk.list[at] as number] as RevokedList;
    return {
      serial: Buffer.from(this.#serial(row)).toString('hex'),
      authorityId,
      reason: revocationReasons[chunk.reasons[at] as number] as RevocationReason,
      revokedAt: chunk.revokedAt[at] as number,
      revokedBy: this.#actors[chunk.by[at] as number] as string,
      notAfter: chunk.notAfter[at] as number,
      shard,
    };
  }

  /** The rows of one authority from one place up to another, which is not included. */
  *between(authorityId: string, from: number, to: number): Generator<Revocation> {
    const end = Math.min(to, this.#length);
    for (let row = from; row < end; row += 1) {
      if (this.isReplaced(row)) continue;
      const { chunk, at } = this.#place(row);
      if (this.#lists[chunk.list[at] as number]?.authorityId === authorityId) yield this.at(row);
    }
  }

  /** The lists of one authority. */
  listsOf(authorityId: string): readonly RevokedList[] {
    return [...(this.#listIds.get(authorityId)?.values() ?? [])].map(
      (id) => this.#lists[id] as RevokedList,
    );
  }

  list(authorityId: string, shard: number): RevokedList | undefined {
    const id = this.#listIds.get(authorityId)?.get(shard);
    return id === undefined ? undefined : this.#lists[id];
  }

  /**
   * Entries of CRLs in the form of `readEntries`, of the certificates that end at `endingFrom` or
   * later. Each step takes less than a millisecond, and revocations may be added in between. A
   * reason that is raised meanwhile is not in them, so that no serial is in them twice.
   */
  *entries({ rows }: Pick<RevokedList, 'rows'>, endingFrom: number): Generator<Uint8Array> {
    const begun = this.#length;
    const isLeftOut = (row: number): boolean =>
      (this.#later.get(row) ?? begun) < begun || (row >= begun && this.#earlier.has(row));
    for (let from = 0; from < rows.length; from += entriesPerPart) {
      const part = Buffer.allocUnsafeSlow(entriesPerPart * entryBytes);
      let end = 0;
      for (const row of rows.slice(from, from + entriesPerPart)) {
        const { chunk, at } = this.#place(row);
        if ((chunk.notAfter[at] as number) < endingFrom || isLeftOut(row)) continue;
        writeEntry(part, end, this.#serial(row), {
          reason: chunk.reasons[at] as number,
          revokedAt: chunk.revokedAt[at] as number,
        });
        end += entryBytes;
      }
      yield part.subarray(0, end);
    }
  }

  /** The first `length` rows, some at a time, in an order that depends on their content only. */
  *inContentOrder(length: number): Generator<CopiedRevocation> {
    for (const rows of this.#index.rows()) {
      const present = rows
        .map((row) => (row < length ? row : (this.#earlier.get(row) ?? row)))
        .filter((row) => row < length)
        .map((row) => this.#copyOf(row));
      yield* present.sort((one, other) => (one.serial < other.serial ? -1 : 1));
    }
  }

  /** What `inContentOrder` gave: with as many rows as before. */
  restore({ isRaised, ...revocation }: CopiedRevocation): void {
    if (isRaised === true) this.add({ ...revocation, reason: 'unspecified' });
    if (!this.add(revocation)) this.raise(revocation);
  }

  #copyOf(row: number): CopiedRevocation {
    return { ...this.at(row), ...(this.#earlier.has(row) ? { isRaised: true } : {}) };
  }

  #place(row: number): { readonly chunk: Chunk; readonly at: number } {
    const position = Math.floor(row / rowsPerChunk);
    let chunk = this.#chunks[position];
    if (chunk === undefined) this.#chunks[position] = chunk = emptyChunk();
    return { chunk, at: row % rowsPerChunk };
  }

  #serial(row: number): Uint8Array {
    const { chunk, at } = this.#place(row);
    const start = at * longestSerial;
    return chunk.serials.subarray(start, start + (chunk.lengths[at] as number));
  }

  #listId({ authorityId, shard }: Revocation): number {
    let shards = this.#listIds.get(authorityId);
    if (shards === undefined) this.#listIds.set(authorityId, (shards = new Map()));
    const known = shards.get(shard);
    if (known !== undefined) return known;
    shards.set(shard, this.#lists.length);
    return this.#lists.push({ authorityId, shard, rows: [], lastNotAfter: 0 }) - 1;
  }

  #actor(name: string): number {
    const known = this.#actorIds.get(name);
    if (known !== undefined) return known;
    this.#actorIds.set(name, this.#actors.length);
    return this.#actors.push(name) - 1;
  }
}

const emptyChunk = (): Chunk => ({
  serials: new Uint8Array(rowsPerChunk * longestSerial),
  lengths: new Uint8Array(rowsPerChunk),
  reasons: new Uint8Array(rowsPerChunk),
  revokedAt: new Float64Array(rowsPerChunk),
  notAfter: new Float64Array(rowsPerChunk),
  list: new Uint32Array(rowsPerChunk),
  by: new Uint32Array(rowsPerChunk),
});

function bytesOf(serial: string): Buffer | undefined {
  if (!/^([0-9a-f]{2}){1,20}$/.test(serial)) return undefined;
  return Buffer.from(serial, 'hex');
}
