import type { ClockState, ConsumerRecord, RotationOperation } from '../domain/index.ts';
import type { RotationStore } from '../store/ports/index.ts';
import type { Standing } from './authorities.ts';
import type { Confirmations } from './confirmations.ts';
import type { IssuedLeaves } from './issued-leaves.ts';
import { notInLog } from './not-in-log.ts';
import type { Objects } from './objects.ts';

/**
 * Goals of rotation, and the facts for decisions on them: the rows of the inventory, and what the
 * log says of leaves whose rows were removed. The later expiry counts.
 */
export interface LedgerRotations extends RotationStore {
  /** The authorities and the rotations under way, as the log vouches for them. */
  standing(): Promise<Standing>;
  /**
   * @throws PkiError OBJECT_NOT_IN_LOG if the row of a rotation under way was altered or taken away
   */
  list(filter: { readonly underWay: boolean }): Promise<readonly RotationOperation[]>;
  /**
   * The consumers of all agents: as reported to this process; for agents that have not reported,
   * the rows of the database, without `heardAt`.
   */
  consumers(): Promise<readonly ConsumerRecord[]>;
  /** What is on record of the clock; undefined: nothing yet. Answers from memory. */
  clock(): ClockState | undefined;
}

export function ledgerRotations(
  rows: RotationStore,
  issued: IssuedLeaves,
  confirmations: Confirmations,
  {
    objects,
    standing,
  }: { readonly objects: Pick<Objects, 'clock'>; readonly standing: () => Promise<Standing> },
): LedgerRotations {
  return {
    standing,
    create: (operation, event, context) => rows.create(operation, event, context),
    update: (of, change, event, signal) => rows.update(of, change, event, signal),
    byId: (id) => rows.byId(id),
    list: async (filter) => {
      const { operations, altered } = await standing();
      const missing = altered.find(({ object }) => object === 'rotation');
      if (missing !== undefined) throw notInLog(missing.object, missing.id);
      return filter.underWay ? operations : rows.list(filter);
    },
    unreplaced: (authorityId, since, page) => rows.unreplaced(authorityId, since, page),
    reliedExpiry: (since, now) => rows.reliedExpiry(since, now),
    clock: () => objects.clock(),
    recordClock: (state, event) => rows.recordClock(state, event),
    consumers: () => confirmations.all(),
    signedBy: async (now, marginSeconds) =>
      withLogged(await rows.signedBy(now, marginSeconds), issued, now - marginSeconds),
    lastNotAfterByHolder: async (now) => {
      const lastByHolder = new Map(await rows.lastNotAfterByHolder(now));
      for (const [holder, last] of issued.holders(now))
        lastByHolder.set(holder, Math.max(last, lastByHolder.get(holder) ?? 0));
      return lastByHolder;
    },
    unheld: async (since, now, named) => {
      const inventory = await rows.unheld(since, now, named);
      // at least one, if the log has a leaf that the inventory lacks
      const logged = issued.unheldUntil(since, named);
      const waiting = Math.max(inventory.waiting, logged >= now ? 1 : 0);
      return {
        total: Math.max(inventory.total, waiting),
        waiting,
        until: Math.max(inventory.until, logged >= now ? logged : 0),
        holders: inventory.holders,
      };
    },
  };
}

/** What the rows say of each authority, and what the log says of what ends at `since` or later. */
function withLogged(
  rows: Awaited<ReturnType<RotationStore['signedBy']>>,
  issued: IssuedLeaves,
  since: number,
): Awaited<ReturnType<RotationStore['signedBy']>> {
  const signedBy = new Map(rows);
  for (const id of issued.authorities()) {
    const last = issued.lastOf(id);
    if (last < since) continue;
    const facts = signedBy.get(id) ?? { lastExpiry: 0, live: 0, liveUnreported: 0 };
    // that a leaf was replaced counts from what its holder told this process, never from its row
    const liveUnreported = Math.max(facts.liveUnreported, issued.liveUnreported(id, since));
    const known = Math.max(facts.live, liveUnreported);
    // the look through all leaves is left out where one is known to be live
    const live = known > 0 || !issued.isLive(id, since) ? known : 1;
    signedBy.set(id, { lastExpiry: Math.max(last, facts.lastExpiry), live, liveUnreported });
  }
  return signedBy;
}
