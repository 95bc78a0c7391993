import type { Clock } from '../../src/common/runtime/index.ts';
import { currentOf, isInUse, type HeldRecord } from './held-record.ts';
import type { Standing } from '../ports/svids.ts';
import type { HeldView } from './x509-svids-dependencies.ts';

export interface Horizon {
  readonly held: number;
  /** Identities in use without a valid SVID after a failed request. */
  readonly unserved: number;
  readonly soonestExpirySeconds: number | undefined;
  /**
   * The shortest life of the SVIDs in use and of those that somebody waits for, if their entries
   * tell it. Undefined if there are none.
   */
  readonly shortestWantedLifeSeconds: number | undefined;
}

export function heldViews(
  records: Iterable<HeldRecord>,
  clock: Clock,
  renewAtMonotonicMs: (key: string) => number | undefined,
): readonly HeldView[] {
  const [now, monotonic] = [clock.now(), clock.monotonicMs()];
  return [...records].flatMap((record) => {
    const svid = currentOf(record, monotonic);
    return svid === undefined
      ? []
      : [
          {
            svid,
            renewAt:
              now + Math.round(((renewAtMonotonicMs(record.key) ?? monotonic) - monotonic) / 1000),
            consumers: record.subscriptions.size,
          },
        ];
  });
}

export function horizonOf(records: Iterable<HeldRecord>, nowMonotonicMs: number): Horizon {
  let held = 0;
  let unserved = 0;
  let soonest = Infinity;
  let shortest = Infinity;
  for (const record of records) {
    if (isInUse(record)) shortest = Math.min(shortest, wantedLifeOf(record));
    if (currentOf(record, nowMonotonicMs) === undefined) {
      if (isUnserved(record)) unserved += 1;
      continue;
    }
    held += 1;
    if (record.subscriptions.size > 0) soonest = Math.min(soonest, record.expiresAtMonotonicMs);
  }
  return {
    held,
    unserved,
    soonestExpirySeconds:
      soonest === Infinity ? undefined : Math.max(0, (soonest - nowMonotonicMs) / 1000),
    shortestWantedLifeSeconds: shortest === Infinity ? undefined : shortest,
  };
}

const isUnserved = ({ subscriptions, withdrawn, attempt, refusal }: HeldRecord): boolean =>
  subscriptions.size > 0 && !withdrawn && (attempt > 0 || refusal !== undefined);

/** What a workload would receive from this record now. */
export function standingOf(record: HeldRecord | undefined, nowMonotonicMs: number): Standing {
  if (record === undefined) return { kind: 'not held' };
  const svid = currentOf(record, nowMonotonicMs);
  if (svid !== undefined) return { kind: 'held', notAfter: svid.notAfter };
  return record.refusal === undefined
    ? { kind: 'not held' }
    : { kind: 'refused', error: record.refusal };
}

/** Infinity if the life is not known yet. */
function wantedLifeOf({ svid, lifetimeSeconds, identity }: HeldRecord): number {
  const { x509TtlSeconds } = identity.entry;
  if (svid !== undefined) return lifetimeSeconds;
  return x509TtlSeconds > 0 ? x509TtlSeconds : Infinity;
}

export function shortestLifeOf(records: Iterable<HeldRecord>): number | undefined {
  let shortest = Infinity;
  for (const record of records)
    if (record.svid !== undefined && isInUse(record))
      shortest = Math.min(shortest, record.lifetimeSeconds);
  return shortest === Infinity ? undefined : shortest;
}
