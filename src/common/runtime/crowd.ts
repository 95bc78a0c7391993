/**
 * Items of holders, in the order of their arrival. When there are too many, the holder with the
 * most items loses its oldest. A holder with few items keeps them.
 */
export class Crowd<Item> {
  readonly #holders = new Map<Item, string>();
  readonly #held = new Map<string, Set<Item>>();

  get size(): number {
    return this.#holders.size;
  }

  /** An item that is here already becomes the newest. */
  add(item: Item, holder: string): void {
    this.delete(item);
    this.#holders.set(item, holder);
    const items = this.#held.get(holder);
    if (items === undefined) this.#held.set(holder, new Set([item]));
    else items.add(item);
  }

  delete(item: Item): boolean {
    const holder = this.#holders.get(item);
    if (holder === undefined) return false;
    this.#holders.delete(item);
    const items = this.#held.get(holder);
    items?.delete(item);
    if (items?.size === 0) this.#held.delete(holder);
    return true;
  }

  count(holder: string): number {
    return this.#held.get(holder)?.size ?? 0;
  }

  /** In the order of their arrival. */
  items(): IterableIterator<Item> {
    return this.#holders.keys();
  }

  /**
   * The oldest item of the holder with the most items. If `newcomer` has any, it counts as having
   * one more. `among`: only these holders are considered.
   */
  victim(newcomer?: string, among?: (holder: string) => boolean): Item | undefined {
    let most = 0;
    let greediest: Set<Item> | undefined;
    for (const [holder, items] of this.#held) {
      if (among?.(holder) === false) continue;
      const count = items.size + (holder === newcomer ? 1 : 0);
      if (count > most) [most, greediest] = [count, items];
    }
    return greediest?.values().next().value;
  }

  /** The oldest item of this holder. */
  oldestOf(holder: string): Item | undefined {
    return this.#held.get(holder)?.values().next().value;
  }
}
