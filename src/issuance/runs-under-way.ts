import type { Intent } from '../domain/index.ts';

/** Certificates that were being issued at one instant. */
export interface IssuanceUnderWay {
  /** Lower-case hex, as in the inventory. */
  readonly serials: ReadonlySet<string>;
  /** Resolves when all of them have ended, or the store has failed. Never rejects. */
  readonly ended: Promise<void>;
}

interface Item {
  readonly intent: Pick<Intent, 'serial'>;
}

/** Owner of the runs of issuance in this process, from before their intents until their end. */
export class RunsUnderWay {
  readonly #runs = new Map<Promise<unknown>, readonly Item[]>();

  /** Returns the run. */
  add<T>(items: readonly Item[], run: Promise<T>): Promise<T> {
    this.#runs.set(run, items);
    const over = (): void => void this.#runs.delete(run);
    run.then(over, over);
    return run;
  }

  present(): IssuanceUnderWay {
    return {
      serials: new Set([...this.#runs.values()].flat().map(({ intent }) => intent.serial)),
      ended: Promise.allSettled(this.#runs.keys()).then(() => {}),
    };
  }
}
