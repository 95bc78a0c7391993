import { PkiError } from '../../src/common/errors/index.ts';
import type { EntriesPage__Output } from '../../src/common/wire/generated/meshca/issuer/v1/EntriesPage.ts';
import type { SyncedEntryCache } from '../cache/index.ts';
import type { AgentEntry } from '../contract.ts';
import type { SyncPosition } from '../state/index.ts';
import { fromWire } from './wire-entry.ts';

/** What one agent may have to hold: bounds the memory that a server can make it take. */
const maximumEntries = 200_000;

/**
 * Puts pages into the cache: those of a snapshot wait aside until the last one and then replace everything at once, a
 * change applies at once. Owner of the position. One per agent; a new stream calls `reset`.
 */
export class EntriesReceiver {
  readonly #cache: SyncedEntryCache;
  #staging: Map<string, AgentEntry> | undefined;
  #position: SyncPosition | undefined;

  constructor(cache: SyncedEntryCache, position: SyncPosition | undefined) {
    this.#cache = cache;
    this.#position = position;
  }

  /** undefined: a snapshot is needed. */
  get position(): SyncPosition | undefined {
    return this.#position;
  }

  /** A stream has ended: what it began and did not finish is void. */
  reset(): void {
    this.#staging = undefined;
  }

  /** Throws INVALID_REQUEST for pages that do not follow one another; the position is forgotten then, so that a snapshot comes. */
  apply(page: EntriesPage__Output): void {
    if (page.snapshotBegin) this.#staging = new Map();
    if (this.#staging === undefined) {
      if (this.#position === undefined) throw this.#broken('a change came before any snapshot');
      this.#cache.applyChanges(page.upserts.map(fromWire), page.removedIds);
      if (page.position !== null) this.#position = page.position;
    } else {
      for (const id of page.removedIds) this.#staging.delete(id);
      for (const entry of page.upserts) this.#staging.set(entry.id, fromWire(entry));
      if (this.#staging.size > maximumEntries) throw this.#broken(`the snapshot has more than ${maximumEntries} entries`);
      if (!page.snapshotEnd) return;
      if (page.position === null) throw this.#broken('the snapshot ends without a position');
      this.#cache.applySnapshot(this.#staging.values());
      this.#position = page.position;
      this.#staging = undefined;
    }
  }

  #broken(message: string): PkiError {
    this.#staging = undefined;
    this.#position = undefined;
    return new PkiError('INVALID_REQUEST', `sync: ${message}`);
  }
}
