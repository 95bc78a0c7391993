import { PkiError } from '../../common/errors/index.ts';
import {
  deletedObject,
  loggedObject,
  selectorList,
  type EntryDraft,
  type RegistrationEntry,
} from '../../domain/index.ts';
import type { EntryChange, EntryStore, EntryWrite } from '../ports/index.ts';
import type { AuditWriter } from './audit.ts';
import type { EntryChanges } from './entry-changes.ts';
import { toEntry, toEntryRow } from './entry-row.ts';
import type { entryReads, entryWrites } from './entry-statements.ts';
import type { Revisions } from './meta.ts';

type WriteContext = Parameters<EntryStore['write']>[1];

export type EntryWriterDependencies = ReturnType<typeof entryReads> &
  ReturnType<typeof entryWrites> & {
    readonly changed: EntryChanges;
    readonly revisions: Revisions;
    readonly audit: AuditWriter;
  };

/** A revision has this many places in the order of creation. Both fit a safe integer for ever. */
const maximumWrites = 65_536;

interface Place {
  readonly revision: number;
  /** Among the writes of this revision. */
  readonly index: number;
}

/** Writes entries inside the caller's transaction. */
export class EntryWriter {
  readonly #dependencies: EntryWriterDependencies;

  constructor(dependencies: EntryWriterDependencies) {
    this.#dependencies = dependencies;
  }

  write(writes: readonly EntryWrite[], context: WriteContext): readonly EntryChange[] {
    if (writes.length === 0) return [];
    const { audit, revisions, changed } = this.#dependencies;
    const revision = revisions.advance();
    if (writes.length > maximumWrites)
      throw new PkiError(
        'REQUEST_TOO_LARGE',
        `one transaction has at most ${maximumWrites} writes of entries, this one has ${writes.length}`,
      );
    const changes = writes.map((write, index) => this.#apply(write, { revision, index }, context));
    this.#refuseTwins(changes);
    for (const { id, event } of writes) {
      const entry = this.#find(id);
      audit(event, entry === undefined ? deletedObject('entry', id) : loggedObject('entry', entry));
    }
    changed.prune();
    return changes;
  }

  #find(id: string): RegistrationEntry | undefined {
    const row = this.#dependencies.byId.get({ id });
    return row === undefined ? undefined : toEntry(row);
  }

  #addSelectors(entry: RegistrationEntry): void {
    for (const selector of selectorList(entry.selectors))
      this.#dependencies.addSelector.run({ entry_id: entry.id, selector });
  }

  #create(draft: EntryDraft, { revision, index }: Place, context: WriteContext): RegistrationEntry {
    if (this.#dependencies.byId.get({ id: draft.id }) !== undefined)
      throw new PkiError('ALREADY_EXISTS', `entry ${draft.id} exists`);
    const row = toEntryRow(draft, {
      revision,
      created_at: context.now,
      updated_at: context.now,
      created_by: context.createdBy,
      created_order: revision * maximumWrites + index,
    });
    this.#dependencies.insert.run(row);
    const entry = toEntry(row);
    this.#addSelectors(entry);
    return entry;
  }

  #change(
    before: RegistrationEntry,
    draft: EntryDraft,
    revision: number,
    now: number,
  ): RegistrationEntry {
    const row = toEntryRow(draft, {
      revision,
      created_at: before.createdAt,
      updated_at: now,
      created_by: before.createdBy,
      created_order: before.createdOrder,
    });
    this.#dependencies.update.run(row);
    const entry = toEntry(row);
    this.#dependencies.removeSelectors.run({ entry_id: before.id });
    this.#addSelectors(entry);
    if (before.parentId !== entry.parentId) this.#dependencies.changed.removed(before, revision);
    return entry;
  }

  #apply(write: EntryWrite, place: Place, context: WriteContext): EntryChange {
    const { action, id, draft } = write;
    if (action !== 'delete' && draft?.id !== id)
      throw new PkiError(
        'INVALID_REQUEST',
        `the ${action} of entry ${id} has no draft with this ID`,
      );
    if (action === 'create')
      return {
        action,
        before: undefined,
        after: this.#create(draft as EntryDraft, place, context),
      };
    const before = this.#find(id);
    if (before === undefined) throw new PkiError('NOT_FOUND', `there is no entry ${id}`);
    if (write.revision !== 0 && write.revision !== before.revision) {
      throw new PkiError(
        'CONFLICT',
        `entry ${id} is at revision ${before.revision}, not ${write.revision}`,
      );
    }
    if (action === 'update')
      return {
        action,
        before,
        after: this.#change(before, draft as EntryDraft, place.revision, context.now),
      };
    this.#dependencies.remove.run({ id });
    this.#dependencies.changed.removed(before, place.revision);
    return { action, before, after: undefined };
  }

  /** Checked after the whole batch, so that entries may exchange their content. */
  #refuseTwins(changes: readonly EntryChange[]): void {
    for (const { after } of changes) {
      const row = after === undefined ? undefined : this.#dependencies.byId.get({ id: after.id });
      const other = row === undefined ? undefined : this.#dependencies.twin.get(row);
      if (other !== undefined)
        throw new PkiError(
          'ALREADY_EXISTS',
          `entry ${other.id} has the same SPIFFE ID, parent and selectors as ${row?.id}`,
        );
    }
  }
}
