import type { ConsumerRecord } from '../domain/index.ts';
import type { RotationStore } from '../store/ports/index.ts';
import type { Confirmations } from './confirmations.ts';
import type { IssuedLeaves } from './issued-leaves.ts';

/**
 * Goals of rotation, and what a decision on them is made from: what the rows of the inventory say,
 * and what the log says of leaves whose rows were taken away. The later expiry counts.
 */
export interface LedgerRotations extends RotationStore {
  /**
   * Consumers of all agents: of those that have reported to this process what they said, else what
   * the database has, without `heardAt`.
   */
  consumers(): Promise<readonly ConsumerRecord[]>;
}

export function ledgerRotations(
  rows: RotationStore,
  issued: IssuedLeaves,
  confirmations: Confirmations,
): LedgerRotations {
  return {
    create: (operation, event, lease) => rows.create(operation, event, lease),
    update: (of, change, event) => rows.update(of, change, event),
    byId: (id) => rows.byId(id),
    list: (filter) => rows.list(filter),
    reliedExpiry: (since, now) => rows.reliedExpiry(since, now),
    clockAnchor: () => rows.clockAnchor(),
    setClockAnchor: (anchor) => rows.setClockAnchor(anchor),
    consumers: () => confirmations.all(),
    signedBy: async (now, marginSeconds) => {
      const found = new Map(await rows.signedBy(now, marginSeconds));
      for (const id of issued.authorities()) {
        const last = issued.lastOf(id);
        const facts = found.get(id);
        if (last >= now - marginSeconds && last > (facts?.lastExpiry ?? 0))
          found.set(id, { live: 0, liveUnreported: 0, ...facts, lastExpiry: last });
      }
      return found;
    },
    lastNotAfterByHolder: async (now) => {
      const found = new Map(await rows.lastNotAfterByHolder(now));
      for (const [holder, last] of issued.holders(now))
        found.set(holder, Math.max(last, found.get(holder) ?? 0));
      return found;
    },
    unheld: async (since, now) => {
      const inventory = await rows.unheld(since, now);
      // at least one, where the log has what the inventory has not
      const logged = issued.unheldUntil(since);
      const waiting = Math.max(inventory.waiting, logged >= now ? 1 : 0);
      return {
        total: Math.max(inventory.total, waiting),
        waiting,
        until: Math.max(inventory.until, logged >= now ? logged : 0),
      };
    },
  };
}
