import { PkiError } from '../../common/errors/index.ts';
import type { Clock, Logger, Random } from '../../common/runtime/index.ts';
import type { AuthoritySources } from './sources.ts';

export interface UpstreamStartDependencies {
  readonly sources: Pick<AuthoritySources, 'prepareUpstream'>;
  /** An issuer is active. */
  readonly present: () => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const retrySeconds = { first: 2, longest: 60 };

/** Asks the upstream for the first intermediate until there is one. Owner of the retries and of the reason for the last failure. */
export class UpstreamStart {
  readonly #dependencies: UpstreamStartDependencies;
  #failure: PkiError | undefined;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(dependencies: UpstreamStartDependencies) {
    this.#dependencies = dependencies;
  }

  /** What stands in the way, while nothing was obtained. */
  failure(): PkiError | undefined {
    return this.#failure;
  }

  /** Resolves after the first attempt, whatever came of it; the rest goes on by itself. */
  start(): Promise<void> {
    return this.#attempt(retrySeconds.first);
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  async #attempt(delaySeconds: number): Promise<void> {
    const { sources, present, clock, random, logger } = this.#dependencies;
    if (this.#closed || present()) return;
    try {
      await sources.prepareUpstream('server');
      this.#failure = undefined;
    } catch (thrown) {
      this.#failure = PkiError.from(thrown);
      logger.warn({ code: this.#failure.code, error: this.#failure.message }, 'the upstream gave no intermediate; trying again');
      if (this.#closed) return;
      this.#cancel = clock.after(delaySeconds * (0.5 + random.uniform()) * 1000, () => void this.#attempt(Math.min(delaySeconds * 2, retrySeconds.longest)));
    }
  }
}
