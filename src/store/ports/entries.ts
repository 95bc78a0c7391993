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
   * Writes all or nothing, in one transaction and one revision. Refuses (ALREADY_EXISTS) an
   * existing ID, and a second entry with the same SPIFFE ID, parent and selectors. The caller
   * checks the rules of the domain, except those that need the transaction: `guard` judges the
   * present state inside it, before the writes. Writes are applied in their order. Two entries may
   * exchange their content.
   */
  write(
    writes: readonly EntryWrite[],
    context: EntryWriteContext,
    guard?: EntryGuard,
  ): Promise<readonly EntryChange[]>;
  byId(id: string, signal?: AbortSignal): Promise<RegistrationEntry | undefined>;
  byIds(ids: readonly string[]): Promise<readonly RegistrationEntry[]>;
  list(filter: EntryFilter, page: PageRequest): Promise<Page<RegistrationEntry>>;
  /** Entries whose parent is one of these. Paged by key. */
  byParents(parentIds: readonly string[], page: PageRequest): Promise<Page<RegistrationEntry>>;
  /** The same, of those that name a foreign trust domain alone. */
  federating(parentIds: readonly string[], page: PageRequest): Promise<Page<RegistrationEntry>>;
  /** Entries with the server as parent: the definitions of node sets. */
  nodeSets(serverId: string): Promise<readonly RegistrationEntry[]>;
  /**
   * The changes for these parents after `revision`: entries that now exist, and IDs that were
   * removed or moved to another parent. Undefined if the revision is too old (pruned), is in the
   * future, or has more than 5,000 changes: then take a snapshot in pages. Complete up to and
   * including the returned position. May name removed IDs that this reader never saw.
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
   * The parents for which `changes` would return something after `revision`: parents of entries
   * that were created, updated, deleted or moved (both parents), each once. The server's ID stands
   * for node sets. This is one cheap read of the change log, so that a change costs one query and
   * not one per connected agent. Undefined if too old (pruned). Complete up to the position.
   */
  changedParents(
    revision: number,
  ): Promise<{ readonly parentIds: readonly string[]; readonly position: Position } | undefined>;
  count(): Promise<number>;
}

export interface EntryWriteContext {
  readonly now: number;
  readonly createdBy: string;
  readonly signal?: AbortSignal | undefined;
}

export interface EntryWrite {
  readonly action: 'create' | 'update' | 'delete';
  /** For `delete`, only the ID of the entry. */
  readonly id: string;
  readonly draft?: EntryDraft;
  /** Compare-and-set for update and delete; 0: any revision. */
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
  /** Ends in a slash: every ID and template below it. */
  readonly spiffeIdPrefix?: string;
  readonly parentId?: string;
  /** `type:value`: entries with this selector among others. */
  readonly selector?: string;
}

/**
 * A check inside the transaction of a write. It names the locks that keep its result true until the
 * commit, and the rows that it rests on. So an engine with concurrent writers takes the locks,
 * reads the rows in sets, and only then runs the check.
 */
export interface EntryGuard {
  /** `entries`: no other writer changes entries meanwhile. Taken before anything is read. */
  readonly locks: readonly 'entries'[];
  readonly reads: EntryReads;
  /**
   * Pure, and may run more than once. If it throws, the write fails and leaves nothing. Access to
   * rows that are not in `reads` is a defect (INTERNAL).
   */
  readonly judge: (sight: EntrySight) => void;
}
