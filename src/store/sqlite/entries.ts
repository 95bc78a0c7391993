import { PkiError } from '../../common/errors/index.ts';
import {
  deletedObject,
  loggedObject,
  selectorList,
  type EntryDraft,
  type RegistrationEntry,
  type EntryReads,
  type EntrySight,
} from '../../domain/index.ts';
import type {
  EntryChange,
  EntryFilter,
  EntryGuard,
  EntryStore,
  EntryWrite,
  Page,
  PageRequest,
} from '../ports/index.ts';
import type { EntryTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import type { Engine } from './engine.ts';
import { createEntryChanges } from './entry-changes.ts';
import { toEntry, toEntryRow } from './entry-row.ts';
import type { Revisions } from './meta.ts';
import { badCursor, pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

export interface EntryDependencies {
  readonly audit: AuditWriter;
  readonly revisions: Revisions;
  /** How many removals are kept for agents that were away. */
  readonly removalLimit: number;
}
type WriteContext = Parameters<EntryStore['write']>[1];

type Row = { [Column in keyof EntryTable]: EntryTable[Column] };

export function createEntries(
  engine: Engine,
  { audit, revisions, removalLimit }: EntryDependencies,
): EntryStore {
  const { byId, bySpiffeId, templates, idsFrom, byParent, twin, count } = entryReads(engine);
  const { insert, update, remove, addSelector, removeSelectors } = entryWrites(engine);
  const changed = createEntryChanges(engine, revisions, removalLimit);

  const find = (id: string): RegistrationEntry | undefined => {
    const row = byId.get({ id });
    return row === undefined ? undefined : toEntry(row);
  };
  /**
   * By pages of IDs and not with an open cursor, which the next run of its statement would break.
   */
  function* statedBelow(prefix: string): Generator<RegistrationEntry> {
    const limit = 200;
    const end = `${prefix}\u{10ffff}`;
    for (const entry of bySpiffeId.all({ spiffe_id: prefix }))
      if (entry.is_template === 0) yield toEntry(entry);
    for (let after = prefix; ; ) {
      const ids = idsFrom.all({ after, end, limit });
      for (const { spiffe_id: id } of ids) {
        for (const entry of bySpiffeId.all({ spiffe_id: id }))
          if (entry.is_template === 0) yield toEntry(entry);
      }
      const last = ids.at(-1);
      if (ids.length < limit || last === undefined) return;
      after = last.spiffe_id;
    }
  }
  const sightOf = (reads: EntryReads): EntrySight => {
    const ids = new Set(reads.spiffeIds);
    const prefixes = new Set(reads.statedBelow);
    return {
      bySpiffeId: (id) => bySpiffeId.all({ spiffe_id: named(ids, id) }).map(toEntry),
      templates: () =>
        reads.templates ? templates.all({}).map(toEntry) : notNamed('the templates'),
      statedBelow: (prefix) => statedBelow(named(prefixes, prefix)),
    };
  };

  const addSelectors = (entry: RegistrationEntry): void => {
    for (const selector of selectorList(entry.selectors))
      addSelector.run({ entry_id: entry.id, selector });
  };

  const create = (
    draft: EntryDraft,
    revision: number,
    context: WriteContext,
  ): RegistrationEntry => {
    if (byId.get({ id: draft.id }) !== undefined)
      throw new PkiError('ALREADY_EXISTS', `entry ${draft.id} exists`);
    const row = toEntryRow(draft, {
      revision,
      created_at: context.now,
      updated_at: context.now,
      created_by: context.createdBy,
    });
    insert.run(row);
    const entry = toEntry(row);
    addSelectors(entry);
    return entry;
  };

  const change = (
    before: RegistrationEntry,
    draft: EntryDraft,
    revision: number,
    now: number,
  ): RegistrationEntry => {
    const row = toEntryRow(draft, {
      revision,
      created_at: before.createdAt,
      updated_at: now,
      created_by: before.createdBy,
    });
    update.run(row);
    const entry = toEntry(row);
    removeSelectors.run({ entry_id: before.id });
    addSelectors(entry);
    if (before.parentId !== entry.parentId) changed.removed(before, revision);
    return entry;
  };

  const apply = (write: EntryWrite, revision: number, context: WriteContext): EntryChange => {
    const { action, id, draft } = write;
    if (action !== 'delete' && draft?.id !== id)
      throw new PkiError(
        'INVALID_REQUEST',
        `the ${action} of entry ${id} has no draft with this ID`,
      );
    if (action === 'create')
      return { action, before: undefined, after: create(draft as EntryDraft, revision, context) };
    const before = find(id);
    if (before === undefined) throw new PkiError('NOT_FOUND', `there is no entry ${id}`);
    if (write.revision !== 0 && write.revision !== before.revision) {
      throw new PkiError(
        'CONFLICT',
        `entry ${id} is at revision ${before.revision}, not ${write.revision}`,
      );
    }
    if (action === 'update')
      return { action, before, after: change(before, draft as EntryDraft, revision, context.now) };
    remove.run({ id });
    changed.removed(before, revision);
    return { action, before, after: undefined };
  };

  /** After the whole batch, so that entries may swap what they state. */
  const refuseTwins = (changes: readonly EntryChange[]): void => {
    for (const { after } of changes) {
      const row = after === undefined ? undefined : byId.get({ id: after.id });
      const other = row === undefined ? undefined : twin.get(row);
      if (other !== undefined)
        throw new PkiError(
          'ALREADY_EXISTS',
          `entry ${other.id} has the same SPIFFE ID, parent and selectors as ${row?.id}`,
        );
    }
  };

  const write = (
    writes: readonly EntryWrite[],
    context: WriteContext,
    guard?: EntryGuard,
  ): readonly EntryChange[] => {
    // the transaction of the one writer is the lock
    guard?.judge(sightOf(guard.reads));
    if (writes.length === 0) return [];
    const revision = revisions.advance();
    const changes = writes.map((one) => apply(one, revision, context));
    refuseTwins(changes);
    for (const { id, event } of writes) {
      const entry = find(id);
      audit(event, entry === undefined ? deletedObject('entry', id) : loggedObject('entry', entry));
    }
    changed.prune();
    return changes;
  };

  const list = (filter: EntryFilter, page: PageRequest): Page<RegistrationEntry> => {
    const size = pageSize(page);
    let query = builder
      .selectFrom('entries')
      .selectAll('entries')
      .where('entries.id', '>', page.after ?? '')
      .orderBy('entries.id')
      .limit(size + 1);
    if (filter.spiffeId !== undefined)
      query = query.where('entries.spiffe_id', '=', filter.spiffeId);
    if (filter.parentId !== undefined)
      query = query.where('entries.parent_id', '=', filter.parentId);
    const { selector } = filter;
    if (selector !== undefined) {
      query = query.where((eb) =>
        eb(
          'entries.id',
          'in',
          eb.selectFrom('entry_selectors').select('entry_id').where('selector', '=', selector),
        ),
      );
    }
    return toPage(engine.rows(query), size, toEntry, (row) => row.id);
  };

  const byParents = (parentIds: readonly string[], page: PageRequest): Page<RegistrationEntry> => {
    const size = pageSize(page);
    const from = parentCursor(page.after);
    const rows: EntryTable[] = [];
    for (const parent of [...new Set(parentIds)].sort()) {
      if (rows.length > size) break;
      if (from !== undefined && parent < from.parentId) continue;
      const after = parent === from?.parentId ? from.id : '';
      rows.push(...byParent.all({ parent_id: parent, after, limit: size + 1 - rows.length }));
    }
    return toPage(rows, size, toEntry, (row) => JSON.stringify([row.parent_id, row.id]));
  };

  return {
    write: (writes, context, guard) => engine.write(() => write(writes, context, guard)),
    byId: (id) => engine.read(() => find(id)),
    byIds: (ids) =>
      engine.look(() => [...new Set(ids)].map(find).filter((entry) => entry !== undefined)),
    list: (filter, page) => engine.read(() => list(filter, page)),
    byParents: (parentIds, page) => engine.read(() => byParents(parentIds, page)),
    nodeSets: (serverId) =>
      engine.read(() => byParent.all({ parent_id: serverId, after: '', limit: -1 }).map(toEntry)),
    changes: (parentIds, revision) => engine.read(() => changed.since(parentIds, revision)),
    changedParents: (revision) => engine.read(() => changed.parentsSince(revision)),
    count: () => engine.read(() => count.get({})?.count ?? 0),
  };
}

function entryReads(engine: Engine) {
  return {
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('entries').selectAll().where('id', '=', slot('id')),
    ),
    bySpiffeId: engine.statement<{ spiffe_id: string }>()((query, slot) =>
      query
        .selectFrom('entries')
        .selectAll()
        .where('spiffe_id', '=', slot('spiffe_id'))
        .orderBy('id'),
    ),
    templates: engine.statement<Record<never, never>>()((query) =>
      query
        .selectFrom('entries')
        .selectAll()
        .where('is_template', '=', (eb) => eb.lit(1))
        .orderBy('id'),
    ),
    idsFrom: engine.statement<{ after: string; end: string; limit: number }>()((query, slot) =>
      query
        .selectFrom('entries')
        .select('spiffe_id')
        .distinct()
        .where('spiffe_id', '>', slot('after'))
        .where('spiffe_id', '<', slot('end'))
        .orderBy('spiffe_id')
        .limit(slot('limit')),
    ),
    byParent: engine.statement<{ parent_id: string; after: string; limit: number }>()(
      (query, slot) =>
        query
          .selectFrom('entries')
          .selectAll()
          .where('parent_id', '=', slot('parent_id'))
          .where('id', '>', slot('after'))
          .orderBy('id')
          .limit(slot('limit')),
    ),
    twin: engine.statement<{
      id: string;
      spiffe_id: string;
      parent_id: string;
      selectors_sha256: Uint8Array;
    }>()((query, slot) =>
      query
        .selectFrom('entries')
        .select('id')
        .where('spiffe_id', '=', slot('spiffe_id'))
        .where('parent_id', '=', slot('parent_id'))
        .where('selectors_sha256', '=', slot('selectors_sha256'))
        .where('id', '<>', slot('id'))
        .limit(1),
    ),
    count: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('entries').select((eb) => eb.fn.countAll<number>().as('count')),
    ),
  };
}

const columns = (slot: <Name extends keyof Row & string>(name: Name) => unknown): never =>
  ({
    spiffe_id: slot('spiffe_id'),
    is_template: slot('is_template'),
    placeholders: slot('placeholders'),
    parent_id: slot('parent_id'),
    selectors: slot('selectors'),
    selectors_sha256: slot('selectors_sha256'),
    x509_ttl_seconds: slot('x509_ttl_seconds'),
    jwt_ttl_seconds: slot('jwt_ttl_seconds'),
    profile: slot('profile'),
    dns_names: slot('dns_names'),
    hint: slot('hint'),
    expires_at: slot('expires_at'),
    admin: slot('admin'),
    downstream: slot('downstream'),
    allow_weak_selectors: slot('allow_weak_selectors'),
    revision: slot('revision'),
    created_at: slot('created_at'),
    updated_at: slot('updated_at'),
    created_by: slot('created_by'),
  }) as never;

function entryWrites(engine: Engine) {
  return {
    insert: engine.statement<Row>()((query, slot) =>
      query.insertInto('entries').values({ id: slot('id'), ...(columns(slot) as object) } as never),
    ),
    update: engine.statement<Row>()((query, slot) =>
      query.updateTable('entries').set(columns(slot)).where('id', '=', slot('id')),
    ),
    remove: engine.statement<{ id: string }>()((query, slot) =>
      query.deleteFrom('entries').where('id', '=', slot('id')),
    ),
    addSelector: engine.statement<{ entry_id: string; selector: string }>()((query, slot) =>
      query
        .insertInto('entry_selectors')
        .values({ entry_id: slot('entry_id'), selector: slot('selector') }),
    ),
    removeSelectors: engine.statement<{ entry_id: string }>()((query, slot) =>
      query.deleteFrom('entry_selectors').where('entry_id', '=', slot('entry_id')),
    ),
  };
}

const notNamed = (what: string): never => {
  throw new PkiError('INTERNAL', `a guard looks at ${what}, which it has not named`);
};
const named = (names: ReadonlySet<string>, name: string): string =>
  names.has(name) ? name : notNamed(`entries of ${name}`);

function parentCursor(
  after: string | undefined,
): { readonly parentId: string; readonly id: string } | undefined {
  if (after === undefined || after === '') return undefined;
  let parts: unknown;
  try {
    parts = JSON.parse(after);
  } catch {
    throw badCursor();
  }
  if (!Array.isArray(parts) || typeof parts[0] !== 'string' || typeof parts[1] !== 'string')
    throw badCursor();
  return { parentId: parts[0], id: parts[1] };
}
