/** Octets of the longest serial (RFC 5280, section 4.1.2.2). */
export const longestSerial = 20;

const buckets = 1024;
const firstSlots = 8;

/**
 * Finds the row of a serial. A million serials take 8 MB, and no addition takes long, since each
 * of many small tables grows by itself. Owner of these tables; the serials are those of the rows.
 */
export class SerialIndex {
  readonly #serialOf: (row: number) => Uint8Array;
  readonly #tables: (Int32Array | undefined)[] = Array.from({ length: buckets });
  readonly #used = new Uint32Array(buckets);

  constructor(serialOf: (row: number) => Uint8Array) {
    this.#serialOf = serialOf;
  }

  /** -1: there is none. */
  find(serial: Uint8Array): number {
    const hash = hashOf(serial);
    const table = this.#tables[hash % buckets];
    if (table === undefined) return -1;
    for (let slot = slotOf(hash, table); ; slot = (slot + 1) & (table.length - 1)) {
      const row = table[slot] as number;
      if (row < 0 || sameBytes(this.#serialOf(row), serial)) return row;
    }
  }

  /** The serial of the row must not be here yet. */
  add(row: number): void {
    const hash = hashOf(this.#serialOf(row));
    const at = hash % buckets;
    let table = this.#tables[at];
    const used = (this.#used[at] as number) + 1;
    this.#used[at] = used;
    if (table === undefined || used * 2 > table.length) {
      const larger = new Int32Array(table === undefined ? firstSlots : table.length * 2).fill(-1);
      for (const known of table ?? [])
        if (known >= 0) put(larger, hashOf(this.#serialOf(known)), known);
      this.#tables[at] = table = larger;
    }
    put(table, hash, row);
  }

  /** From now on the serial of both rows is that of `row`. */
  replace(before: number, row: number): void {
    const hash = hashOf(this.#serialOf(before));
    const table = this.#tables[hash % buckets] as Int32Array;
    let slot = slotOf(hash, table);
    while (table[slot] !== before) slot = (slot + 1) & (table.length - 1);
    table[slot] = row;
  }

  /** The rows of one table after another: their order depends on serials and additions only. */
  *rows(): Generator<readonly number[]> {
    for (const table of this.#tables)
      if (table !== undefined) yield [...table].filter((row) => row >= 0);
  }
}

function put(table: Int32Array, hash: number, row: number): void {
  let slot = slotOf(hash, table);
  while ((table[slot] as number) >= 0) slot = (slot + 1) & (table.length - 1);
  table[slot] = row;
}

const slotOf = (hash: number, table: Int32Array): number =>
  Math.floor(hash / buckets) & (table.length - 1);

/** FNV-1a. Serials of ours are random, and nobody else chooses any. */
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  for (let at = 0; at < one.length; at += 1) if (one[at] !== other[at]) return false;
  return true;
}
