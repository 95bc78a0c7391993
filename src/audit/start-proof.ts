/** Who has shown what: the newest checkpoint from before the start that was shown since. */
export interface StartProof {
  readonly by: string;
  readonly records: number;
}

/**
 * Whether anybody has shown that the database is the one of the last run. If database and
 * checkpoint file are put back together, nothing on this machine tells. An agent or witness does,
 * by a checkpoint from before the start. One that this process signed proves nothing. Owner of what
 * was shown since the start.
 */
export class ProofSinceStart {
  readonly #recordsAtStart: number;
  #proof: StartProof | undefined;

  /** `recordsAtStart`: those under checkpoints when this process began; 0: the log began then. */
  constructor(recordsAtStart: number) {
    this.#recordsAtStart = recordsAtStart;
  }

  get recordsAtStart(): number {
    return this.#recordsAtStart;
  }

  get proof(): StartProof | undefined {
    return this.#proof;
  }

  /** Whether the log is older than this process, and nobody has shown a checkpoint of it. */
  get unproven(): boolean {
    return this.#recordsAtStart > 0 && this.#proof === undefined;
  }

  /** `by` holds a checkpoint over so many records, which the tree contains. */
  shown(by: string, records: number): void {
    if (records < 1 || records > this.#recordsAtStart) return;
    if (records > (this.#proof?.records ?? 0)) this.#proof = { by, records };
  }
}
