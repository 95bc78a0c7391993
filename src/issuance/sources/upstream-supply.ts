import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger, type Random } from '../../common/runtime/index.ts';
import type { AuthoritySources } from './sources.ts';

export interface UpstreamSupplyDependencies {
  readonly sources: Pick<AuthoritySources, 'prepareUpstream' | 'awaited'>;
  /** Whether an issuer is active. */
  readonly present: () => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const retrySeconds = { first: 2, longest: 60 };

/**
 * Asks the upstream for an intermediate when one is needed: the first one, or one that a rotation
 * waits for. A failure does not affect the present issuer. Owner of the retries and of the reason
 * for the last failure.
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

  /** Why a needed intermediate was not obtained; undefined if none is needed. */
  failure(): PkiError | undefined {
    return this.#failure;
  }

  /**
   * Asks the upstream if an intermediate is needed. Resolves after one attempt, with any outcome.
   * Does nothing while a retry is scheduled.
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
      logger.warn(
        { ...errorFields(error), next: error.next },
        'the upstream did not sign an intermediate; trying again',
      );
      if (this.#closed) return;
      this.#cancel = clock.after(this.#delaySeconds * (0.5 + random.uniform()) * 1000, () => {
        this.#cancel = undefined;
        void this.supply();
      });
      this.#delaySeconds = Math.min(this.#delaySeconds * 2, retrySeconds.longest);
    }
  }
}
