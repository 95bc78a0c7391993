import type { Tenant } from '../../domain/index.ts';
import type { Engine } from './engine.ts';
import { createEntryChanges } from './entry-changes.ts';
import type { Revisions } from './meta.ts';

/** More are not told one by one: agents read their snapshot again. */
const maximumTold = 5000;

/**
 * Lets agents lose the entries of a tenant that ends, and find those again whose names are freed,
 * inside the caller's transaction. The entries themselves stay as they are.
 */
export type TellEntries = (before: Tenant, after: Tenant) => void;

export function createTellEntries(
  engine: Engine,
  { revisions, removalLimit }: { readonly revisions: Revisions; readonly removalLimit: number },
): TellEntries {
  const below = engine.statement<{ from: string; until: string; limit: number }>()((query, slot) =>
    query
      .selectFrom('entries')
      .select(['id', 'parent_id'])
      .where('spiffe_id', '>=', slot('from'))
      .where('spiffe_id', '<', slot('until'))
      .limit(slot('limit')),
  );
  const changed = createEntryChanges(engine, revisions, removalLimit);
  const entriesOf = (prefixes: readonly string[], most: number) => {
    const entries: { readonly id: string; readonly parentId: string }[] = [];
    for (const from of prefixes) {
      const limit = most - entries.length;
      if (limit <= 0) break;
      for (const row of below.all({ from, until: `${from}\u{10ffff}`, limit }))
        entries.push({ id: row.id, parentId: row.parent_id });
    }
    return entries;
  };
  return (before, after) => {
    const hidden = without(hiddenBy(after), hiddenBy(before));
    const shown = without(hiddenBy(before), hiddenBy(after));
    const gone = entriesOf(hidden, maximumTold + 1);
    const areMany = gone.length > maximumTold || entriesOf(shown, 1).length > 0;
    if (gone.length === 0 && !areMany) return;
    const revision = revisions.advance();
    if (areMany) {
      revisions.raiseHorizon(revision);
      return;
    }
    for (const entry of gone) changed.removed(entry, revision);
    changed.prune();
  };
}

/** The prefixes of the entries that no agent gets. */
const hiddenBy = ({ state, spiffePrefixes }: Tenant): readonly string[] =>
  state === 'active' ? [] : spiffePrefixes;

const without = (all: readonly string[], others: readonly string[]): readonly string[] =>
  all.filter((each) => !others.includes(each));
