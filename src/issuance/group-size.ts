/**
 * A certificate passes through so many places: it is read and drafted, its intent is committed, one
 * of two signers has it, its end is committed.
 */
const places = 5;
/** So few share a commit: with a smaller group the price of commits is more than what it gains. */
const smallest = 4;
/** So many are one chunk of a signer, and share the price of a commit well enough. */
const largest = 12;

/**
 * Decides how many of the certificates that wait share the next commit of intents. If all went
 * together, they would stay together: the main thread would idle while they are synced and signed,
 * and the signers while they are drafted. A fifth of them goes, so that at each time each place has
 * a group. If the disk is the slow place, more and more wait for the next commit; therefore half of
 * those that wait go at least.
 *
 * Owner of the number of certificates between their draft and their end.
 */
export class GroupSize {
  #inside = 0;

  /** Returns what to call when the items have ended. */
  enter(items: number): () => void {
    this.#inside += items;
    return () => void (this.#inside -= items);
  }

  of(waiting: number): number {
    const fair = Math.min(Math.ceil(this.#inside / places), largest);
    return Math.max(fair, Math.ceil(waiting / 2), smallest);
  }
}
