import { InOrder } from '../common/runtime/index.ts';
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

interface Run {
  readonly items: readonly Item[];
  readonly run: Promise<unknown>;
}

/** Owner of the runs of issuance in this process, from before their intents until their end. */
export class RunsUnderWay {
  readonly #runs = new InOrder<Run>();

  /** Returns the run. */
  add<T>(items: readonly Item[], run: Promise<T>): Promise<T> {
    const place = this.#runs.add({ items, run });
    const over = (): void => this.#runs.remove(place);
    run.then(over, over);
    return run;
  }

  present(): IssuanceUnderWay {
    const runs = [...this.#runs];
    return {
      serials: new Set(runs.flatMap(({ items }) => items).map(({ intent }) => intent.serial)),
      ended: Promise.allSettled(runs.map(({ run }) => run)).then(() => {}),
    };
  }
}
