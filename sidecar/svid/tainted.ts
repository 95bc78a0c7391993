import { isInUse, type HeldRecord } from './held-record.ts';

/**
 * The authorities that are tainted now, each with the window (seconds) in which what it signed is
 * to be replaced. Owner of that knowledge.
 */
export class Tainted {
  #now: ReadonlyMap<string, number> = new Map();
  /**
   * Windows that were spread already: the server repeats its state, and each new draw would only
   * bring everything forward.
   */
  readonly #spread = new Map<string, number>();

  /**
   * The records to be renewed that were not told to before, with their share of the window: those
   * that end soonest come first.
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

  /** undefined: the record need not be renewed early. */
  windowOf(record: HeldRecord): number | undefined {
    return record.svid !== undefined && isInUse(record)
      ? this.#now.get(record.authorityId)
      : undefined;
  }
}
