import type { Clock } from '../../src/common/runtime/index.ts';
import { holdingsFile, saveHoldings, type StateWrites } from '../state/index.ts';
import type { Consumers } from '../sync/index.ts';

/** Changes within this time share one write. A crash loses what was handed out within it. */
const delayMs = 1000;

export interface HoldingsKeeperDependencies {
  readonly directory: string;
  readonly writes: StateWrites;
  readonly consumers: () => Consumers;
  readonly clock: Clock;
}

/** Writes to disk who has received certificates, some time after a change. */
export class HoldingsKeeper {
  readonly #dependencies: HoldingsKeeperDependencies;
  #cancel: (() => void) | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(dependencies: HoldingsKeeperDependencies) {
    this.#dependencies = dependencies;
  }

  changed(): void {
    this.#cancel ??= this.#dependencies.clock.after(delayMs, () => this.#write());
  }

  /** Writes pending changes now. */
  async flush(): Promise<void> {
    if (this.#cancel !== undefined) {
      this.#cancel();
      this.#write();
    }
    await this.#writing;
  }

  #write(): void {
    this.#cancel = undefined;
    const { directory, writes, consumers } = this.#dependencies;
    this.#writing = writes.put(holdingsFile, () => saveHoldings(directory, consumers().holdings()));
  }
}
