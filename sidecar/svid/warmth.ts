import type { HeldRecord } from './held-record.ts';

/**
 * Identities that nobody uses at the moment. The one unused for longest is dropped first. Owner of
 * that order.
 */
export class Warmth {
  readonly #bound: number;
  readonly #evict: (record: HeldRecord) => void;
  readonly #order = new Set<HeldRecord>();

  constructor(bound: number, evict: (record: HeldRecord) => void) {
    this.#bound = bound;
    this.#evict = evict;
  }

  used(record: HeldRecord): void {
    this.#order.delete(record);
  }

  released(record: HeldRecord): void {
    this.#order.delete(record);
    this.#order.add(record);
    for (const oldest of this.#order) {
      if (this.#order.size <= this.#bound) break;
      this.#order.delete(oldest);
      this.#evict(oldest);
    }
  }
}
