const maximumHeld = 20_000;
/** Half of what the server takes in one report. */
const reportSize = 5000;

/**
 * Serials whose holders have read the replacement, to be reported to the server. A stream
 * acknowledges nothing, so the serials sent last are sent again on the next stream; repetition does
 * no harm. Owner of the queue. The oldest are dropped first.
 */
export class Replacements {
  readonly #onDirty: () => void;
  readonly #waiting = new Set<string>();
  #sent: string[] = [];

  constructor(onDirty: () => void) {
    this.#onDirty = onDirty;
  }

  confirmed(replacedSerial: string): void {
    if (this.#waiting.size >= maximumHeld)
      this.#waiting.delete(this.#waiting.values().next().value as string);
    this.#waiting.add(replacedSerial);
    this.#onDirty();
  }

  drain(): readonly string[] | undefined {
    if (this.#waiting.size === 0) return undefined;
    const serials = [...this.#waiting].slice(0, reportSize);
    for (const serial of serials) this.#waiting.delete(serial);
    this.#sent = [...this.#sent, ...serials].slice(-reportSize);
    return serials;
  }

  /** Call it when a new stream begins. */
  requeue(): void {
    for (const serial of this.#sent) this.#waiting.add(serial);
    this.#sent = [];
  }
}
