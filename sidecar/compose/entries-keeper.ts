import type { Clock } from '../../src/common/runtime/index.ts';
import type { SyncedEntryCache } from '../cache/index.ts';
import { entriesFile, saveEntries, type StateWrites } from '../state/index.ts';
import type { EntriesReceiver } from '../sync/index.ts';

export interface EntriesKeeperDependencies {
  readonly directory: string;
  readonly cache: SyncedEntryCache;
  readonly receiver: EntriesReceiver;
  readonly writes: StateWrites;
  readonly clock: Clock;
}

/** Changes within this time share one write, since 20,000 entries take several megabytes. */
const delayMs = 5000;

/**
 * Writes the entries to disk some time after a change. An older file is no loss: the server sends
 * what is missing.
 */
export class EntriesKeeper {
  readonly #dependencies: EntriesKeeperDependencies;
  #cancel: (() => void) | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(dependencies: EntriesKeeperDependencies) {
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
    const { directory, writes, cache, receiver } = this.#dependencies;
    this.#writing = writes.put(entriesFile, async () => {
      const { agentId, position } = receiver;
      if (agentId !== undefined && position !== undefined)
        await saveEntries(directory, agentId, position, cache.all());
    });
  }
}
