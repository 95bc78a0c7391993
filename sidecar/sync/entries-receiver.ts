import { PkiError } from '../../src/common/errors/index.ts';
import type { EntriesPage__Output } from '../../src/common/wire/generated/meshca/issuer/v1/EntriesPage.ts';
import type { SyncedEntryCache } from '../cache/index.ts';
import type { AgentEntry } from '../ports/entries.ts';
import type { SyncPosition } from '../state/index.ts';
import { fromWire } from './wire-entry.ts';

/** The most entries of one agent. It limits the memory that a server can make the agent use. */
const maximumEntries = 200_000;

/**
 * Puts pages into the cache. The pages of a snapshot are kept until the last one, and then replace
 * everything at once; a change applies at once. Owner of the position. One per agent; a new stream
 * calls `begin`.
 */
export class EntriesReceiver {
  readonly #cache: SyncedEntryCache;
  #staging: Map<string, AgentEntry> | undefined;
  #position: SyncPosition | undefined;
  #agentId: string | undefined;

  /** Begins with the entries of an earlier run, if there are any. */
  constructor(
    cache: SyncedEntryCache,
    kept?: { readonly agentId: string; readonly position: SyncPosition },
  ) {
    this.#cache = cache;
    this.#position = kept?.position;
    this.#agentId = kept?.agentId;
  }

  /** Undefined if a snapshot is needed. */
  get position(): SyncPosition | undefined {
    return this.#position;
  }

  /**
   * Begins a new stream as this agent. An unfinished snapshot of an earlier stream is dropped. A
   * position is valid for one agent only, so an agent with a new ID gets a snapshot, never changes
   * on top of foreign entries.
   */
  begin(agentId: string): void {
    this.#staging = undefined;
    if (this.#agentId !== undefined && this.#agentId !== agentId) this.#position = undefined;
    this.#agentId = agentId;
  }

  get agentId(): string | undefined {
    return this.#agentId;
  }

  /**
   * Throws INVALID_REQUEST for a page that does not follow the one before. It then forgets the
   * position, so that a snapshot comes.
   */
  apply(page: EntriesPage__Output): void {
    if (page.snapshotBegin) this.#staging = new Map();
    if (this.#staging === undefined) {
      if (this.#position === undefined) throw this.#broken('a change came before any snapshot');
      this.#cache.applyChanges(page.upserts.map(fromWire), page.removedIds);
      if (page.position !== null) this.#position = page.position;
    } else {
      for (const id of page.removedIds) this.#staging.delete(id);
      for (const entry of page.upserts) this.#staging.set(entry.id, fromWire(entry));
      if (this.#staging.size > maximumEntries)
        throw this.#broken(`the snapshot has more than ${maximumEntries} entries`);
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
