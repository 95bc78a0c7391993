import type { Delegation } from '../domain/index.ts';
import type { DelegationStore } from '../store/ports/index.ts';
import { pagesOf } from '../store/pages.ts';
import { comparedRows } from './compared-rows.ts';
import type { Objects } from './objects.ts';
import type { RowComparison } from './row-comparison.ts';

export interface LedgerDelegations extends DelegationStore {
  /**
   * Called when no delegation covers what a client asks for. Compares every row with the log soon,
   * in the background, so that a delegation that somebody altered or took away is announced.
   * Decides nothing.
   */
  compareSoon(): void;
}

export const ledgerDelegations = (
  rows: DelegationStore,
  comparison: Pick<RowComparison, 'soon'>,
): LedgerDelegations => ({
  create: (delegation, event, signal) => rows.create(delegation, event, signal),
  byId: (id) => rows.byId(id),
  activeFor: (clientId, now) => rows.activeFor(clientId, now),
  list: (filter, page) => rows.list(filter, page),
  revoke: (id, now, event) => rows.revoke(id, now, event),
  compareSoon: () => comparison.soon(),
});

export async function compareDelegations(
  rows: Pick<DelegationStore, 'list'>,
  objects: Pick<Objects, 'prove' | 'newest' | 'announceMissing'>,
): Promise<void> {
  await comparedRows(objects, 'delegation', async () => {
    const all: Delegation[] = [];
    for await (const page of pagesOf((request) => rows.list({ includeRevoked: true }, request)))
      all.push(...page);
    return all;
  });
}
