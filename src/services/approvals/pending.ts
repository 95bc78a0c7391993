import type { LedgerApprovals } from '../../ledger/index.ts';
import { pagesOf } from '../../store/pages.ts';

export interface PendingFacts {
  readonly count: number;
  /** Age of the oldest operation. */
  readonly oldestSeconds: number;
}

/** The pending operations, grouped by the name of their method. */
export async function pendingByKind(
  approvals: Pick<LedgerApprovals, 'list'>,
  now: number,
): Promise<ReadonlyMap<string, PendingFacts>> {
  const pending = new Map<string, PendingFacts>();
  for await (const operations of pagesOf((page) => approvals.list({ pendingAt: now }, page))) {
    for (const { method, createdAt } of operations) {
      const kind = method.slice(method.lastIndexOf('/') + 1);
      const before = pending.get(kind);
      pending.set(kind, {
        count: (before?.count ?? 0) + 1,
        oldestSeconds: Math.max(before?.oldestSeconds ?? 0, now - createdAt),
      });
    }
  }
  return pending;
}
