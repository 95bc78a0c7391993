import type { Clock } from '../../common/runtime/index.ts';
import type { SignersState } from '../../hsm/signing-port.ts';

/** Where others sign, renewals rest after a batch for so many times as long as it took. */
const restShare = 3;

export interface RenewalPaceDependencies {
  readonly signers: { state(): Pick<SignersState, 'inFlight' | 'signatures'> };
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/**
 * How fast answers are renewed for which nobody waits: one batch after another while nobody else
 * has the signers sign, and otherwise with a rest after each, so that most of their time is for
 * others. Owner of when the present rest is over.
 */
export class RenewalPace {
  readonly #dependencies: RenewalPaceDependencies;
  #restedAtMs = Number.NEGATIVE_INFINITY;

  constructor(dependencies: RenewalPaceDependencies) {
    this.#dependencies = dependencies;
  }

  /** How long no batch begins. Milliseconds; 0: one may begin. */
  restMs(): number {
    return Math.max(0, this.#restedAtMs - this.#dependencies.clock.monotonicMs());
  }

  /** A batch begins. Returns what to call when it is over, with the number of its signatures. */
  begin(): (own: number) => void {
    const { signers, clock } = this.#dependencies;
    const begunMs = clock.monotonicMs();
    const before = signers.state();
    return (own) => {
      const after = signers.state();
      const ofOthers =
        after.signatures - before.signatures - own + before.inFlight + after.inFlight;
      const nowMs = clock.monotonicMs();
      if (ofOthers > 0) this.#restedAtMs = nowMs + (nowMs - begunMs) * restShare;
    };
  }
}
