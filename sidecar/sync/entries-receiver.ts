import { PkiError } from '../../src/common/errors/index.ts';
import type { EntriesPage__Output } from '../../src/common/wire/generated/meshca/issuer/v1/EntriesPage.ts';
import type { SyncedEntryCache } from '../cache/index.ts';
import type { AgentEntry } from '../ports/entries.ts';
import type { SyncPosition } from '../state/index.ts';
import { fromWire } from './wire-entry.ts';

/** What one agent may have to hold: bounds the memory that a server can make it take. */
const maximumEntries = 200_000;

/**
 * Puts pages into the cache: those of a snapshot wait aside until the last one and then replace
 * everything at once, a change applies at once. Owner of the position. One per agent; a new stream
 * calls `begin`.
 */
export class EntriesReceiver {
  readonly #cache: SyncedEntryCache;
  #staging: Map<string, AgentEntry> | undefined;
  #position: SyncPosition | undefined;
  #agentId: string | undefined;

  /** With what was kept from an earlier run, if anything. */
  constructor(
    cache: SyncedEntryCache,
    kept?: { readonly agentId: string; readonly position: SyncPosition },
  ) {
    this.#cache = cache;
    this.#position = kept?.position;
    this.#agentId = kept?.agentId;
  }

  /** undefined: a snapshot is needed. */
  get position(): SyncPosition | undefined {
    return this.#position;
  }

  /**
   * A new stream begins, as this agent: what an earlier one began and did not finish is void. A
   * position counts for one agent only, so that one which was given another ID gets a snapshot, and
   * never the changes on top of foreign entries.
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
   * Throws INVALID_REQUEST for pages that do not follow one another; the position is forgotten
   * then, so that a snapshot comes.
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
