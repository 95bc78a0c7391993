import type {
  AuditEvent,
  EntryDraft,
  EntryReads,
  EntrySight,
  Position,
  RegistrationEntry,
} from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface EntryStore {
  /**
   * All or nothing, in one transaction and one revision. Refuses (ALREADY_EXISTS) an ID that is
   * taken, and a second entry with the same SPIFFE ID, parent and selectors. The domain's rules are
   * checked by the caller, except those that need the transaction: `guard` judges the present state
   * inside it, before the writes. Writes are applied in their order; two entries may swap what they
   * state.
   */
  write(
    writes: readonly EntryWrite[],
    context: { readonly now: number; readonly createdBy: string },
    guard?: EntryGuard,
  ): Promise<readonly EntryChange[]>;
  byId(id: string): Promise<RegistrationEntry | undefined>;
  byIds(ids: readonly string[]): Promise<readonly RegistrationEntry[]>;
  list(filter: EntryFilter, page: PageRequest): Promise<Page<RegistrationEntry>>;
  /** Entries whose parent is one of these. Paged by key. */
  byParents(parentIds: readonly string[], page: PageRequest): Promise<Page<RegistrationEntry>>;
  /** Entries with the server as parent: definitions of node sets. */
  nodeSets(serverId: string): Promise<readonly RegistrationEntry[]>;
  /**
   * What changed for these parents after `revision`: entries now present, and IDs that are gone or
   * moved to another parent. `undefined`: too old (pruned), from the future, or more than is good
   * for one answer (5,000): take a snapshot in pages. Complete up to and including the returned
   * position. May name IDs as removed that this reader never saw.
   */
  changes(
    parentIds: readonly string[],
    revision: number,
  ): Promise<
    | {
        readonly upserts: readonly RegistrationEntry[];
        readonly removedIds: readonly string[];
        readonly position: Position;
      }
    | undefined
  >;
  /**
   * The parents for which `changes` would answer something after `revision`: those of entries
   * created, updated, deleted or moved (both parents), each once; the server's ID stands for node
   * sets. One cheap read of the change log, so that a change costs one query and not one per
   * connected agent. `undefined`: too old (pruned). Complete up to the position.
   */
  changedParents(
    revision: number,
  ): Promise<{ readonly parentIds: readonly string[]; readonly position: Position } | undefined>;
  count(): Promise<number>;
}

export interface EntryWrite {
  readonly action: 'create' | 'update' | 'delete';
  /** For `delete` only its ID counts. */
  readonly id: string;
  readonly draft?: EntryDraft;
  /** Compare-and-set for update and delete, 0: whatever is there. */
  readonly revision: number;
  readonly event: AuditEvent;
}

export interface EntryChange {
  readonly action: 'create' | 'update' | 'delete';
  readonly before: RegistrationEntry | undefined;
  readonly after: RegistrationEntry | undefined;
}

export interface EntryFilter {
  readonly spiffeId?: string;
  readonly parentId?: string;
  /** `type:value`: entries that have this selector among theirs. */
  readonly selector?: string;
}

/**
 * A judgement inside the transaction of a write. It names the locks that keep its answer true until
 * the commit and the rows that it rests on, so that an engine with concurrent writers takes the
 * locks, reads the rows in sets, and only then asks.
 */
export interface EntryGuard {
  /** `entries`: nobody else writes entries meanwhile. Taken before anything is read. */
  readonly locks: readonly 'entries'[];
  readonly reads: EntryReads;
  /**
   * Pure, and may be called more than once. What it throws fails the write, and nothing of it is
   * left. To look at rows that are not among `reads` is a defect (INTERNAL).
   */
  readonly judge: (found: EntrySight) => void;
}
