import type { LedgerApprovals } from '../../ledger/index.ts';
import { pagesOf } from '../../store/pages.ts';

export interface PendingFacts {
  readonly count: number;
  /** Age of the oldest. */
  readonly oldestSeconds: number;
}

/** What waits for approval, by the name of its method. */
export async function pendingByKind(
  approvals: Pick<LedgerApprovals, 'list'>,
  now: number,
): Promise<ReadonlyMap<string, PendingFacts>> {
  const found = new Map<string, PendingFacts>();
  for await (const operations of pagesOf((page) => approvals.list({ pendingAt: now }, page))) {
    for (const { method, createdAt } of operations) {
      const kind = method.slice(method.lastIndexOf('/') + 1);
      const before = found.get(kind);
      found.set(kind, {
        count: (before?.count ?? 0) + 1,
        oldestSeconds: Math.max(before?.oldestSeconds ?? 0, now - createdAt),
      });
    }
  }
  return found;
}
