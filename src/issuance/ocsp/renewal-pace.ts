import { nextTurn, type Clock } from '../../common/runtime/index.ts';
import type { SignersState } from '../../hsm/signing-port.ts';

/** Where others sign, a batch rests so many times as long as it took. */
const restShare = 3;

export interface RenewalPaceDependencies {
  readonly signers: { state(): Pick<SignersState, 'inFlight' | 'signatures'> };
  readonly clock: Pick<Clock, 'monotonicMs' | 'sleep'>;
}

/**
 * How fast answers are renewed for which nobody waits: one batch after another while nobody else
 * has the signers sign, and otherwise with a rest after each, so that most of their time is for
 * others.
 */
export class RenewalPace {
  readonly #dependencies: RenewalPaceDependencies;

  constructor(dependencies: RenewalPaceDependencies) {
    this.#dependencies = dependencies;
  }

  /** A batch begins. Returns what is awaited when it is over, with the number of its signatures. */
  begin(): (own: number) => Promise<void> {
    const { signers, clock } = this.#dependencies;
    const begunMs = clock.monotonicMs();
    const before = signers.state();
    return async (own) => {
      const after = signers.state();
      const ofOthers =
        after.signatures - before.signatures - own + before.inFlight + after.inFlight;
      if (ofOthers > 0) await clock.sleep((clock.monotonicMs() - begunMs) * restShare);
      else await nextTurn();
    };
  }
}
