import type { Position, RegistrationEntry } from '../../domain/index.ts';
import type { EntryTable } from '../schema.ts';
import type { Engine } from './engine.ts';
import { toEntry } from './entry-row.ts';
import type { Revisions } from './meta.ts';

/**
 * Above this number a snapshot in pages is cheaper than one answer, whose read would block the
 * thread.
 */
const maximumChanges = 5000;

export interface EntryChanges {
  /** Records that this parent had the entry until `revision`. */
  removed(entry: Pick<RegistrationEntry, 'id' | 'parentId'>, revision: number): void;
  /**
   * Drops the oldest removals when there are more than a tenth too many. Records the oldest
   * revision that can still be answered.
   */
  prune(): void;
  since(
    parentIds: readonly string[],
    revision: number,
  ):
    | {
        readonly upserts: readonly RegistrationEntry[];
        readonly removedIds: readonly string[];
        readonly position: Position;
      }
    | undefined;
  parentsSince(
    revision: number,
  ): { readonly parentIds: readonly string[]; readonly position: Position } | undefined;
}

type Since = { parent_id: string; revision: number; limit: number };

export function createEntryChanges(
  engine: Engine,
  revisions: Revisions,
  removalLimit: number,
): EntryChanges {
  const {
    upserted,
    removed,
    insert,
    oldest,
    newest,
    at,
    drop,
    parentsOfEntries,
    parentsOfRemovals,
  } = entryChangeStatements(engine);
  /** The present position; undefined for a pruned revision, or one of another database. */
  const answerable = (revision: number): Position | undefined => {
    const position = revisions.position();
    return revision < revisions.horizon() || revision > position.revision ? undefined : position;
  };

  return {
    parentsSince: (revision) => {
      const position = answerable(revision);
      if (position === undefined) return undefined;
      const rows = [...parentsOfEntries.all({ revision }), ...parentsOfRemovals.all({ revision })];
      return { parentIds: [...new Set(rows.map((row) => row.parent_id))], position };
    },
    removed: (entry, revision) =>
      void insert.run({ revision, parent_id: entry.parentId, entry_id: entry.id }),
    prune: () => {
      const last = newest.get({})?.position ?? 0;
      // Positions have no gaps, because rows are removed at the low end only.
      const kept = last - (oldest.get({})?.position ?? 1) + 1;
      if (kept <= removalLimit * 1.1) return;
      const position = last - removalLimit;
      revisions.raiseHorizon(at.get({ position })?.revision ?? revisions.position().revision);
      drop.run({ position });
    },
    since: (parentIds, revision) => {
      const position = answerable(revision);
      if (position === undefined) return undefined;
      const rows: EntryTable[] = [];
      const gone = new Set<string>();
      for (const parent of new Set(parentIds)) {
        const limit = maximumChanges + 1 - rows.length - gone.size;
        if (limit <= 0) return undefined;
        rows.push(...upserted.all({ parent_id: parent, revision, limit }));
        for (const row of removed.all({ parent_id: parent, revision, limit }))
          gone.add(row.entry_id);
      }
      if (rows.length + gone.size > maximumChanges) return undefined;
      // an upsert after the removal: the entry came back, or moved between these parents
      for (const row of rows) gone.delete(row.id);
      return { upserts: rows.map(toEntry), removedIds: [...gone], position };
    },
  };
}

function entryChangeStatements(engine: Engine) {
  return {
    upserted: engine.statement<Since>()((query, slot) =>
      query
        .selectFrom('entries')
        .selectAll()
        .where('parent_id', '=', slot('parent_id'))
        .where('revision', '>', slot('revision'))
        .limit(slot('limit')),
    ),
    removed: engine.statement<Since>()((query, slot) =>
      query
        .selectFrom('entry_removals')
        .select('entry_id')
        .where('parent_id', '=', slot('parent_id'))
        .where('revision', '>', slot('revision'))
        .limit(slot('limit')),
    ),
    insert: engine.statement<{ revision: number; parent_id: string; entry_id: string }>()(
      (query, slot) =>
        query.insertInto('entry_removals').values({
          revision: slot('revision'),
          parent_id: slot('parent_id'),
          entry_id: slot('entry_id'),
        } as never),
    ),
    oldest: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('entry_removals').select('position').orderBy('position').limit(1),
    ),
    newest: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('entry_removals').select('position').orderBy('position', 'desc').limit(1),
    ),
    at: engine.statement<{ position: number }>()((query, slot) =>
      query
        .selectFrom('entry_removals')
        .select('revision')
        .where('position', '=', slot('position')),
    ),
    drop: engine.statement<{ position: number }>()((query, slot) =>
      query.deleteFrom('entry_removals').where('position', '<=', slot('position')),
    ),
    // Two statements: for one union, the planner reads both tables completely, in the order of
    // their parents.
    parentsOfEntries: engine.statement<{ revision: number }>()((query, slot) =>
      query.selectFrom('entries').select('parent_id').where('revision', '>', slot('revision')),
    ),
    parentsOfRemovals: engine.statement<{ revision: number }>()((query, slot) =>
      query
        .selectFrom('entry_removals')
        .select('parent_id')
        .where('revision', '>', slot('revision')),
    ),
  };
}
