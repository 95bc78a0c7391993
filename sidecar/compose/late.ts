/**
 * A part that is made later than its callers. It is filled once. A call before that is a defect,
 * and throws.
 */
export class Late<T> {
  readonly #name: string;
  #filled: { readonly value: T } | undefined;

  constructor(name: string) {
    this.#name = name;
  }

  get value(): T {
    if (this.#filled === undefined) throw new Error(`${this.#name} is used before it is made`);
    return this.#filled.value;
  }

  fill(value: T): void {
    if (this.#filled !== undefined) throw new Error(`${this.#name} is made twice`);
    this.#filled = { value };
  }
}
