/** Anything with selector texts and a key. */
export interface Indexed {
  readonly id: string;
  /** Interned `type:value` texts; not empty. */
  readonly texts: readonly string[];
}

/**
 * Finds the items whose selectors are all in a set. Each item is indexed under one of its
 * selectors, the rarest when it was added, so that a lookup reads only the buckets of the caller's
 * own selectors. Owner: the entry cache.
 */
export class SelectorIndex<T extends Indexed> {
  readonly #buckets = new Map<string, Set<T>>();
  readonly #anchorOf = new Map<string, string>();
  /** Which selectors of an item may anchor it. */
  readonly #mayAnchor: (text: string) => boolean;
  /** Items without a selector that may anchor. */
  readonly #loose = new Set<T>();

  constructor(mayAnchor: (text: string) => boolean = () => true) {
    this.#mayAnchor = mayAnchor;
  }

  /** `countOf` tells how many items have a selector. */
  add(item: T, countOf: (text: string) => number): void {
    let anchor: string | undefined;
    let rarest = Infinity;
    for (const text of item.texts) {
      const count = countOf(text);
      if (count < rarest && this.#mayAnchor(text)) [anchor, rarest] = [text, count];
    }
    if (anchor === undefined) {
      this.#loose.add(item);
      return;
    }
    const bucket = this.#buckets.get(anchor);
    if (bucket === undefined) this.#buckets.set(anchor, new Set([item]));
    else bucket.add(item);
    this.#anchorOf.set(item.id, anchor);
  }

  delete(item: T): void {
    this.#loose.delete(item);
    const anchor = this.#anchorOf.get(item.id);
    if (anchor === undefined) return;
    this.#anchorOf.delete(item.id);
    const bucket = this.#buckets.get(anchor);
    bucket?.delete(item);
    if (bucket?.size === 0) this.#buckets.delete(anchor);
  }

  /** Candidates: a superset of the items whose selectors are all in the set. */
  *candidates(texts: ReadonlySet<string>): Generator<T> {
    yield* this.#loose;
    for (const text of texts) {
      const bucket = this.#buckets.get(text);
      if (bucket !== undefined) yield* bucket;
    }
  }
}
