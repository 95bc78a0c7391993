import type { Clock } from '../../common/runtime/index.ts';
import { errorFields, type Logger } from '../../common/runtime/index.ts';
import type { LedgerRevocations } from '../../ledger/index.ts';

export interface RowComparisonDependencies {
  readonly store: Pick<LedgerRevocations, 'compareRows'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** A comparison rests for so many times as long as the one before took. */
const restFactor = 20;
const shortestRestMs = 20;

/**
 * Compares the rows of revocations with the log after each CRL. No CRL rests on them: this only
 * tells that somebody altered them. One at a time, and beside the work of the server: of its time
 * it takes a twentieth at most.
 */
export class RowComparison {
  readonly #dependencies: RowComparisonDependencies;
  #cancel: (() => void) | undefined;
  #running = false;
  #wanted = false;
  #restMs = 0;
  #closed = false;

  constructor(dependencies: RowComparisonDependencies) {
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
    const { store, clock, logger } = this.#dependencies;
    const began = clock.monotonicMs();
    this.#running = true;
    try {
      await store.compareRows();
    } catch (thrown) {
      if (!this.#closed)
        logger.warn({ ...errorFields(thrown) }, 'the rows of revocations were not compared');
    }
    this.#running = false;
    this.#restMs = Math.max(shortestRestMs, restFactor * (clock.monotonicMs() - began));
    if (!this.#wanted) return;
    this.#wanted = false;
    this.soon();
  }
}
