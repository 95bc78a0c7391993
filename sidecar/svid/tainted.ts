import { isInUse, type HeldRecord } from './held-record.ts';

/**
 * The tainted authorities, each with the window (seconds) in which its leaves are to be replaced.
 * Owner of that state.
 */
export class Tainted {
  #now: ReadonlyMap<string, number> = new Map();
  /**
   * Windows that have been spread. The server repeats its state, and another draw could only be
   * earlier.
   */
  readonly #spread = new Map<string, number>();

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
    for (const id of fresh) this.#spread.set(id, tainted.get(id) as number);
    const affected = [...records]
      .filter(
        (record) => isInUse(record) && record.svid !== undefined && fresh.has(record.authorityId),
      )
      .sort((a, b) => a.expiresAtMonotonicMs - b.expiresAtMonotonicMs);
    return affected.map((record, rank) => ({ record, share: (rank + random()) / affected.length }));
  }

  /** Undefined if the record need not be renewed early. */
  windowOf(record: HeldRecord): number | undefined {
    return record.svid !== undefined && isInUse(record)
      ? this.#now.get(record.authorityId)
      : undefined;
  }
}
