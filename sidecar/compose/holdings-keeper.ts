import { errorFields, type Clock, type Logger } from '../../src/common/runtime/index.ts';
import { saveHoldings } from '../state/index.ts';
import type { Consumers } from '../sync/index.ts';

/**
 * Changes within this time become one write. What was given in the last moment before a crash is
 * the gap that remains.
 */
const delayMs = 1000;

/** Writes down who was given a certificate, some time after it changed. */
export class HoldingsKeeper {
  readonly #parts: {
    readonly directory: string;
    readonly consumers: () => Consumers;
    readonly clock: Clock;
    readonly logger: Logger;
  };
  #cancel: (() => void) | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(parts: {
    readonly directory: string;
    readonly consumers: () => Consumers;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#parts = parts;
  }

  changed(): void {
    this.#cancel ??= this.#parts.clock.after(delayMs, () => this.#write());
  }

  /** Writes what is due. */
  async flush(): Promise<void> {
    if (this.#cancel !== undefined) {
      this.#cancel();
      this.#write();
    }
    await this.#writing;
  }

  #write(): void {
    this.#cancel = undefined;
    const { directory, consumers, logger } = this.#parts;
    this.#writing = this.#writing
      .then(() => saveHoldings(directory, consumers().holdings()))
      .catch((thrown: unknown) =>
        logger.error(
          { ...errorFields(thrown) },
          'the holders of certificates could not be written down',
        ),
      );
  }
}
