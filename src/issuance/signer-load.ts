/** A group of this size goes to commit and signers at once: a larger one saves little more. */
const largeEnough = 64;

/**
 * Decides whether new intents wait for company. As long as the signers have enough to do, a
 * certificate that went to them now would only wait there. Here it shares its commit, its hand-over
 * and its turn with those that come meanwhile. While one half of the calls is being signed, the
 * other half gathers; then both share a commit.
 *
 * Owner of what is at the signers.
 */
export class SignerLoad {
  #atSigners = 0;
  #isBusy: () => boolean = never;

  /** The items go to the signers. Returns what to call when all of them are answered. */
  begin(items: number, isBusy: (() => boolean) | undefined): () => void {
    if (isBusy === undefined) return nothing;
    this.#isBusy = isBusy;
    this.#atSigners += items;
    return () => void (this.#atSigners -= items);
  }

  /**
   * Whether this number of waiting items is held: never if the signers could begin with them, or
   * if more wait than are being signed.
   */
  holds(waiting: number): boolean {
    const mayGather = waiting <= this.#atSigners && waiting < largeEnough;
    return this.#atSigners > 0 && mayGather && this.#isBusy();
  }
}

const never = (): boolean => false;
const nothing = (): void => {};
