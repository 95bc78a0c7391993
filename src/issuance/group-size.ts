/** So many groups are under way: while one is synced, signed and ended, the other is drafted. */
const groups = 2;
/** Fewer do not part: with smaller groups the price of commits is more than what overlapping gains. */
const smallest = 8;
/** With larger groups the signers idle while one is drafted, and a commit blocks the thread longer. */
const largest = 24;

/**
 * Decides how many of the certificates that wait share the next commit of intents. If all went
 * together, they would stay together: the main thread would idle while they are synced and signed,
 * and the signers while they are drafted. So half of those under way go. If the disk is the slow
 * place, more and more wait for the next commit; therefore half of those that wait go at least.
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
    const fair = Math.min(Math.ceil(this.#inside / groups), largest);
    return Math.max(fair, Math.ceil(waiting / 2), smallest);
  }
}
