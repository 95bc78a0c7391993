import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';

export interface RowComparisonDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The rest after a comparison, at least. */
  readonly restMs?: number;
}

/** A comparison rests for so many times as long as the one before took. */
const restFactor = 20;
const usualRestMs = 20;

/**
 * Compares rows on which no decision rests with the log: this only tells that somebody altered
 * them. One comparison at a time, and beside the work of the server: of its time they take a
 * twentieth at most.
 */
export class RowComparison {
  readonly #of: string;
  readonly #compare: () => Promise<void>;
  readonly #dependencies: RowComparisonDependencies;
  #cancel: (() => void) | undefined;
  #running = false;
  #wanted = false;
  #restMs = 0;
  #closed = false;

  /**
   * @param of what is compared, in the plural
   * @param compare reads the rows and announces each difference
   */
  constructor(of: string, compare: () => Promise<void>, dependencies: RowComparisonDependencies) {
    this.#of = of;
    this.#compare = compare;
    this.#dependencies = dependencies;
  }

  soon(): void {
    if (this.#closed || this.#cancel !== undefined) return;
    if (this.#running) {
      this.#wanted = true;
      return;
    }
    this.#cancel = this.#dependencies.clock.after(this.#restMs, () => {
      this.#cancel = undefined;
      void this.#run();
    });
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  async #run(): Promise<void> {
    const { clock, logger, restMs = usualRestMs } = this.#dependencies;
    const began = clock.monotonicMs();
    this.#running = true;
    try {
      await this.#compare();
    } catch (thrown) {
      if (!this.#closed)
        logger.warn({ ...errorFields(thrown) }, `the rows of ${this.#of} were not compared`);
    }
    this.#running = false;
    this.#restMs = Math.max(restMs, restFactor * (clock.monotonicMs() - began));
    if (!this.#wanted) return;
    this.#wanted = false;
    this.soon();
  }
}
