/** Texts in the order of their UTF-16 units. A search takes the logarithm of their number. */
export class SortedTexts {
  readonly #texts: string[];

  /** In any order, each once. */
  constructor(texts: Iterable<string>) {
    this.#texts = [...texts].sort();
  }

  add(text: string): void {
    const at = this.#firstFrom(text);
    if (this.#texts[at] !== text) this.#texts.splice(at, 0, text);
  }

  delete(text: string): void {
    const at = this.#firstFrom(text);
    if (this.#texts[at] === text) this.#texts.splice(at, 1);
  }

  /** In the order of the texts. */
  *startingWith(start: string): Generator<string> {
    for (let at = this.#firstFrom(start); at < this.#texts.length; at += 1) {
      const text = this.#texts[at] as string;
      if (!text.startsWith(start)) return;
      yield text;
    }
  }

  #firstFrom(text: string): number {
    let low = 0;
    let high = this.#texts.length;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if ((this.#texts[middle] as string) < text) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
