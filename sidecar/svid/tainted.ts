import { isInUse, type HeldRecord } from './held-record.ts';

/** Serials of certificates that were replaced long ago are of no use. */
const maximumSpread = 10_000;

/**
 * What is to be replaced: the leaves of tainted authorities, and certificates that were revoked or
 * whose key was blocked. Each authority (by its ID) and each certificate (by its serial) has the
 * window (seconds) in which it is replaced. Owner of that state.
 */
export class Tainted {
  #now: ReadonlyMap<string, number> = new Map();
  /**
   * Windows that have been spread. The server repeats its state, and another draw could only be
   * earlier.
   */
  #spread: ReadonlyMap<string, number> = new Map();

  /**
   * Returns the records that must be renewed now for the first time, each with its share of the
   * window. Those that expire first come first.
   */
  set(
    tainted: ReadonlyMap<string, number>,
    records: Iterable<HeldRecord>,
    random: () => number,
  ): readonly { readonly record: HeldRecord; readonly share: number }[] {
    this.#now = new Map(tainted);
    const fresh = new Set(
      [...tainted].filter(([id, window]) => this.#spread.get(id) !== window).map(([id]) => id),
    );
    // a session begins with none: what was spread before stays known
    const before = this.#spread.size > maximumSpread ? [] : this.#spread;
    this.#spread = new Map([...before, ...tainted]);
    const affected = [...records]
      .filter((record) => isInUse(record) && namesOf(record).some((name) => fresh.has(name)))
      .sort((a, b) => a.expiresAtMonotonicMs - b.expiresAtMonotonicMs);
    return affected.map((record, rank) => ({ record, share: (rank + random()) / affected.length }));
  }

  /** Undefined if the record need not be renewed early. */
  windowOf(record: HeldRecord): number | undefined {
    if (!isInUse(record)) return undefined;
    const windows = namesOf(record).flatMap((name) => this.#now.get(name) ?? []);
    return windows.length === 0 ? undefined : Math.min(...windows);
  }
}

/** The names under which a record may be replaced. */
const namesOf = ({ svid, authorityId }: HeldRecord): readonly string[] =>
  svid === undefined ? [] : [authorityId, svid.serial];
