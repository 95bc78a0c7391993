/** A group of this size goes to commit and signers at once: a larger one saves little more. */
const largeEnough = 64;

/**
 * Decides whether new intents wait for company. As long as the signers have enough to do, a
 * certificate that went to them now would only wait there. Here it shares its commit, its hand-over
 * and its turn with those that come meanwhile. While one half of the calls is being signed, the
 * other half gathers; then both share a commit.
 *
 * Owner of the number of items at the signers.
 */
export class SignerLoad {
  #atSigners = 0;
  #busyAt = Number.POSITIVE_INFINITY;

  /** The items go to the signers. Returns what to call when all of them are answered. */
  begin(items: number, busyAt: number | undefined): () => void {
    if (busyAt === undefined) return nothing;
    this.#busyAt = busyAt;
    this.#atSigners += items;
    return () => void (this.#atSigners -= items);
  }

  /**
   * Whether this number of waiting items is held: never if the signers could begin with them, or
   * if more wait than are being signed.
   */
  holds(waiting: number): boolean {
    const signersAreBusy = this.#atSigners > 0 && this.#atSigners >= this.#busyAt;
    return signersAreBusy && waiting <= this.#atSigners && waiting < largeEnough;
  }
}

const nothing = (): void => {};
