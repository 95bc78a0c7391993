import type { RegistrationEntry } from '../../domain/index.ts';
import type { EntryFilter, EntryStore, Page, PageRequest } from '../ports/index.ts';
import type { EntryTable } from '../schema.ts';
import type { AuditWriter } from './audit.ts';
import type { Engine } from './engine.ts';
import { createEntryChanges } from './entry-changes.ts';
import { createEntrySight } from './entry-sight.ts';
import { entryReads, entryWrites } from './entry-statements.ts';
import { EntryWriter } from './entry-writes.ts';
import { toEntry } from './entry-row.ts';
import type { Revisions } from './meta.ts';
import { badCursor, pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

export interface EntryDependencies {
  readonly audit: AuditWriter;
  readonly revisions: Revisions;
  /** The number of removals that are kept for agents that were away. */
  readonly removalLimit: number;
}

export function createEntries(
  engine: Engine,
  { audit, revisions, removalLimit }: EntryDependencies,
): EntryStore {
  const reads = entryReads(engine);
  const { byId, byParent, federating, count } = reads;
  const changed = createEntryChanges(engine, revisions, removalLimit);
  const writer = new EntryWriter({ ...reads, ...entryWrites(engine), changed, revisions, audit });
  const sightOf = createEntrySight(reads);

  const find = (id: string): RegistrationEntry | undefined =>
    engine.once(`entry ${id}`, () => {
      const row = byId.get({ id });
      return row === undefined ? undefined : toEntry(row);
    });
  const byParents = (
    parentIds: readonly string[],
    page: PageRequest,
    statement = byParent,
  ): Page<RegistrationEntry> => {
    const size = pageSize(page);
    const from = parentCursor(page.after);
    const rows: EntryTable[] = [];
    for (const parent of [...new Set(parentIds)].sort()) {
      if (rows.length > size) break;
      if (from !== undefined && parent < from.parentId) continue;
      const after = parent === from?.parentId ? from.id : '';
      rows.push(...statement.all({ parent_id: parent, after, limit: size + 1 - rows.length }));
    }
    return toPage(rows, size, toEntry, (row) => JSON.stringify([row.parent_id, row.id]));
  };

  return {
    write: (writes, context, guard) =>
      engine.write(() => {
        // there is one writer, whose transaction is the lock
        guard?.judge(sightOf(guard.reads));
        return writer.write(writes, context);
      }, context.signal),
    byId: (id, signal) => engine.read(() => find(id), signal),
    byIds: (ids) =>
      engine.look(() => [...new Set(ids)].map(find).filter((entry) => entry !== undefined)),
    list: (filter, page) => engine.read(() => listed(engine, filter, page), page.signal),
    byParents: (parentIds, page) => engine.read(() => byParents(parentIds, page), page.signal),
    federating: (parentIds, page) =>
      engine.read(() => byParents(parentIds, page, federating), page.signal),
    nodeSets: (serverId) =>
      engine.read(() => byParent.all({ parent_id: serverId, after: '', limit: -1 }).map(toEntry)),
    changes: (parentIds, revision) => engine.read(() => changed.since(parentIds, revision)),
    changedParents: (revision) => engine.read(() => changed.parentsSince(revision)),
    count: () => engine.read(() => count.get({})?.count ?? 0),
  };
}

function listed(engine: Engine, filter: EntryFilter, page: PageRequest): Page<RegistrationEntry> {
  const size = pageSize(page);
  let query = builder
    .selectFrom('entries')
    .selectAll('entries')
    .where('entries.id', '>', page.after ?? '')
    .orderBy('entries.id')
    .limit(size + 1);
  if (filter.spiffeId !== undefined) query = query.where('entries.spiffe_id', '=', filter.spiffeId);
  const { spiffeIdPrefix: prefix } = filter;
  if (prefix !== undefined)
    query = query
      .where('entries.spiffe_id', '>=', prefix)
      .where('entries.spiffe_id', '<', `${prefix}\u{10ffff}`);
  if (filter.parentId !== undefined) query = query.where('entries.parent_id', '=', filter.parentId);
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
}

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
