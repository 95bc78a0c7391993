/** What the log says of an object, and the text of its value, once it was found. */
export interface TextHolder {
  text: string | undefined;
}

/** Some dozens of MiB. */
const maximumCharacters = 16_000_000;

/**
 * Texts whose digests were compared with the log: to compare texts is cheaper than to hash them.
 * Holds so many characters at most, and drops the oldest half when it is full. A long text is not
 * held, so that one order with a hundred names does not push out a hundred entries.
 */
export class RememberedTexts {
  readonly #longest: number;
  readonly #most: number;
  #holders: TextHolder[] = [];
  #characters = 0;

  constructor(most = maximumCharacters) {
    this.#most = most;
    this.#longest = most / 1_000;
  }

  keep(holder: TextHolder, text: string): void {
    if (text.length > this.#longest) return;
    holder.text = text;
    this.#holders.push(holder);
    this.#characters += text.length;
    if (this.#characters > this.#most) this.#drop();
  }

  #drop(): void {
    let dropped = 0;
    while (this.#characters > this.#most / 2) {
      const holder = this.#holders[dropped] as TextHolder;
      this.#characters -= holder.text?.length ?? 0;
      holder.text = undefined;
      dropped += 1;
    }
    this.#holders.splice(0, dropped);
  }
}
