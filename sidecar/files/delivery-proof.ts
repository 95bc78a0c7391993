import type { Result } from '../../src/common/errors/index.ts';
import type { Clock, Random } from '../../src/common/runtime/index.ts';
import type { DeliveredSet } from './delivery-record.ts';
import type { DeliverySteps } from './delivery-steps.ts';
import type { FileTarget } from './target.ts';

export interface RenewedProofDependencies {
  readonly target: Pick<FileTarget, 'listeners'>;
  readonly steps: Pick<DeliverySteps, 'prove'>;
  readonly clock: Clock;
  readonly random: Random;
}

const firstWaitMs = 10_000;
const longestWaitMs = 300_000;

/**
 * The proof of what an earlier process delivered. It is asked for once, and again until it comes: a
 * server that is down then is no reason to take anything back.
 */
export class RenewedProof {
  readonly #dependencies: RenewedProofDependencies;
  #owed = false;
  #at = 0;
  #failures = 0;

  constructor(dependencies: RenewedProofDependencies) {
    this.#dependencies = dependencies;
  }

  owe(): void {
    this.#owed = this.#dependencies.target.listeners.length > 0;
  }

  settle(): void {
    this.#owed = false;
  }

  /** The value says whether the server's trust was shown too. */
  async take(
    set: DeliveredSet,
    signal: AbortSignal,
  ): Promise<Result<boolean> | 'not owed' | 'later'> {
    const { steps, clock, random } = this.#dependencies;
    if (!this.#owed) return 'not owed';
    if (clock.monotonicMs() < this.#at) return 'later';
    const shown = await steps.prove(set, signal);
    if (signal.aborted) return 'later';
    if (shown.ok) this.#owed = false;
    else {
      const waitMs = Math.min(longestWaitMs, firstWaitMs * 2 ** Math.min(this.#failures, 10));
      this.#failures += 1;
      this.#at = clock.monotonicMs() + waitMs * (0.5 + 0.5 * random.uniform());
    }
    return shown;
  }

  waitMs(): number {
    return this.#owed
      ? Math.max(1000, this.#at - this.#dependencies.clock.monotonicMs())
      : Infinity;
  }
}
