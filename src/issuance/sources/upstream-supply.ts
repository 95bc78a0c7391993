import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger, type Random } from '../../common/runtime/index.ts';
import type { AuthoritySources } from './sources.ts';

export interface UpstreamSupplyDependencies {
  readonly sources: Pick<AuthoritySources, 'prepareUpstream' | 'awaited'>;
  /** An issuer is active. */
  readonly present: () => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const retrySeconds = { first: 2, longest: 60 };

/**
 * Asks the upstream for an intermediate while one is needed: the first of all, or the one that a
 * rotation waits for. Owner of the retries and of the reason for the last failure; whatever it is,
 * the present issuer goes on signing.
 */
export class UpstreamSupply {
  readonly #dependencies: UpstreamSupplyDependencies;
  #failure: PkiError | undefined;
  #cancel: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #delaySeconds = retrySeconds.first;
  #closed = false;

  constructor(dependencies: UpstreamSupplyDependencies) {
    this.#dependencies = dependencies;
  }

  /** What stands in the way, while something is needed that was not obtained. */
  failure(): PkiError | undefined {
    return this.#failure;
  }

  /**
   * Looks whether something is needed, and asks. Resolves after one attempt, whatever came of it.
   * While a retry is due later, it does nothing.
   */
  supply(): Promise<void> {
    if (this.#closed || this.#cancel !== undefined) return Promise.resolve();
    this.#running ??= this.#attempt().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  async #attempt(): Promise<void> {
    const { sources, present, clock, random, logger } = this.#dependencies;
    try {
      if (!present() || (await sources.awaited()) !== undefined) {
        await sources.prepareUpstream('server');
        logger.info({}, 'the upstream signed a new intermediate');
      }
      this.#failure = undefined;
      this.#delaySeconds = retrySeconds.first;
    } catch (thrown) {
      const error = PkiError.from(thrown);
      this.#failure = error;
      logger.warn({ ...errorFields(error) }, 'the upstream gave no intermediate; trying again');
      if (this.#closed) return;
      this.#cancel = clock.after(this.#delaySeconds * (0.5 + random.uniform()) * 1000, () => {
        this.#cancel = undefined;
        void this.supply();
      });
      this.#delaySeconds = Math.min(this.#delaySeconds * 2, retrySeconds.longest);
    }
  }
}
