import type { Logger } from '../common/runtime/index.ts';
import type { Authority } from '../domain/index.ts';

/** If records wait longer than this for a checkpoint, the server logs it and is not ready. */
const lateMs = 120_000;

export interface LatenessDependencies {
  /** How long the oldest record without a checkpoint has waited; 0: none waits. */
  readonly waitingMs: () => number;
  /** No checkpoint is made for a reason that is announced by itself. */
  readonly excused: () => boolean;
  /** Whose key signs checkpoints. */
  readonly signer: () => Pick<Authority, 'token'>;
  readonly changed: () => void;
  readonly logger: Logger;
}

/** Owner of whether it was announced that records wait too long for a checkpoint. */
export class Lateness {
  readonly #dependencies: LatenessDependencies;
  #announced = false;

  constructor(dependencies: LatenessDependencies) {
    this.#dependencies = dependencies;
  }

  /** Whether records wait for a checkpoint for so long that an operator has to look. */
  get late(): boolean {
    return !this.#dependencies.excused() && this.#dependencies.waitingMs() >= lateMs;
  }

  /** Announces the begin and the end, once each. To be called after each look of the sequencer. */
  judge(): void {
    if (this.late === this.#announced) return;
    this.#announced = this.late;
    const { logger, waitingMs } = this.#dependencies;
    const { token } = this.#dependencies.signer();
    if (this.#announced)
      logger.error(
        {
          code: 'AUDIT_LATE',
          alert: true,
          token,
          waitingSeconds: Math.round(waitingMs() / 1_000),
        },
        'records of the audit log have no checkpoint for minutes; see the error before',
      );
    else logger.info({ token }, 'the audit log has checkpoints over all its records again');
    this.#dependencies.changed();
  }
}
