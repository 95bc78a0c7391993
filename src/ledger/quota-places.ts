import { readCanonical, takenPlacesIn, type TakenPlace } from '../domain/index.ts';

/** Records after which ended places are looked for. */
const sweepEvery = 1_000;

/** Places that the records of this log state. */
export interface LedgerQuotas {
  /** When each taken place of this counter is free again, Unix seconds. */
  ends(counter: string): readonly number[];
}

/** With the sequence of its record, so that a record that is read again takes no second place. */
export interface PlaceContent extends TakenPlace {
  readonly sequence: number;
}

/**
 * The places that are taken in quotas, by the records of the log. A row that
 * somebody changed takes and frees none. Owner of that memory.
 */
export class QuotaPlaces implements LedgerQuotas {
  readonly #keptFrom: () => number;
  /** By counter and sequence. */
  #places = new Map<string, Map<number, number>>();
  #applied = 0;

  /** @param keptFrom places that ended earlier (Unix seconds) matter to nobody */
  constructor(keptFrom: () => number) {
    this.#keptFrom = keptFrom;
  }

  apply({ counter, until }: TakenPlace, sequence: number): void {
    if (until < this.#keptFrom()) return;
    const places = this.#places.get(counter);
    if (places === undefined) this.#places.set(counter, new Map([[sequence, until]]));
    else places.set(sequence, until);
    this.#applied += 1;
    if (this.#applied % sweepEvery === 0) this.#sweep();
  }

  ends(counter: string): readonly number[] {
    return [...(this.#places.get(counter)?.values() ?? [])];
  }

  copy(): readonly PlaceContent[] {
    this.#sweep();
    return [...this.#places].flatMap(([counter, places]) =>
      [...places].map(([sequence, until]) => ({ counter, sequence, until })),
    );
  }

  /** Begins with the content of a snapshot. */
  restore(content: readonly PlaceContent[]): void {
    for (const { sequence, ...place } of content) this.apply(place, sequence);
  }

  become(other: QuotaPlaces): void {
    this.#places = other.#places;
  }

  #sweep(): void {
    const keptFrom = this.#keptFrom();
    for (const [counter, places] of this.#places) {
      for (const [sequence, until] of places) if (until < keptFrom) places.delete(sequence);
      if (places.size === 0) this.#places.delete(counter);
    }
  }
}

/** Inside a JSON string the quotes would be escaped, so that these bytes mark a field only. */
const mark = Buffer.from('"policyQuotaUntil":');
const listMark = Buffer.from('"quotaPlaces":');

/** The places that a stored record states, if they end at `since` (Unix seconds) or later. */
export function takenPlacesFrom(canonical: Buffer, since: number): readonly TakenPlace[] {
  if (!canonical.includes(listMark)) {
    const at = canonical.indexOf(mark);
    if (at < 0) return [];
    const from = at + mark.length;
    if (Number.parseInt(canonical.toString('latin1', from, from + 12), 10) < since) return [];
  }
  const event = readCanonical(canonical);
  return event === undefined ? [] : takenPlacesIn(event).filter(({ until }) => until >= since);
}
