const remembered = 10_000;

/**
 * The deleted objects that are remembered as such, the oldest first, so that an older record that
 * comes late does not bring one of them back. Records come late by some commits at most.
 */
export class Deletions {
  readonly #most: number;
  #keys: string[] = [];
  #first = 0;

  constructor(most = remembered) {
    this.#most = most;
  }

  /** Returns the key of the object that may be forgotten for it; undefined: none. */
  add(key: string): string | undefined {
    this.#keys.push(key);
    if (this.#keys.length - this.#first <= this.#most) return undefined;
    const forgotten = this.#keys[this.#first];
    this.#first += 1;
    if (this.#first === this.#most) {
      this.#keys = this.#keys.slice(this.#first);
      this.#first = 0;
    }
    return forgotten;
  }
}
