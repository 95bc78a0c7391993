import { PkiError } from '../common/errors/index.ts';
import type { Clock, Logger } from '../common/runtime/index.ts';
import type { LogReview } from '../ledger/index.ts';

export interface BackgroundCheckDependencies {
  readonly review: LogReview;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called once, when a record does not fit. The check then ends. */
  readonly found: (error: PkiError) => void;
}

const recordsAtOnce = 32;
/**
 * The event loop waits no longer than this and one more step. The pause is this multiple of the
 * used time: a tenth of a core.
 */
const sliceMs = 2;
const pauseFactor = 9;
const pauseAtLeastMs = 10;

/**
 * Reads the records that the start has skipped, a few at a time, and checks that they are those
 * that were signed. Owner of its timer.
 */
export class BackgroundCheck {
  readonly #dependencies: BackgroundCheckDependencies;
  #cancel: (() => void) | undefined;
  #slice: Promise<void> = Promise.resolve();
  #closed = false;
  #whole = false;

  constructor(dependencies: BackgroundCheckDependencies) {
    this.#dependencies = dependencies;
  }

  get of(): number {
    return this.#dependencies.review.of;
  }

  get checked(): number {
    return this.#dependencies.review.checked;
  }

  get whole(): boolean {
    return this.#whole;
  }

  start(): void {
    this.#later(pauseAtLeastMs);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    await this.#slice;
  }

  #later(afterMs: number): void {
    if (this.#closed) return;
    this.#cancel = this.#dependencies.clock.after(afterMs, () => {
      this.#slice = this.#look();
    });
  }

  async #look(): Promise<void> {
    const { review, clock, logger, found } = this.#dependencies;
    const begunMs = clock.monotonicMs();
    try {
      do {
        if ((await review.step(recordsAtOnce)) === 'more') continue;
        this.#whole = true;
        logger.info(
          { records: this.of },
          'the records under the snapshot of the audit log are those that were signed',
        );
        return;
      } while (clock.monotonicMs() - begunMs < sliceMs);
    } catch (thrown) {
      const error = PkiError.from(thrown);
      if (error.code !== 'SHUTTING_DOWN' && !this.#closed) found(error);
      return;
    }
    this.#later(Math.max(pauseAtLeastMs, pauseFactor * (clock.monotonicMs() - begunMs)));
  }
}
