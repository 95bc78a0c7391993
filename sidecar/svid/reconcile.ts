import type { SyncedEntryCache } from '../cache/index.ts';
import { identityKey, type Identity } from '../ports/entries.ts';
import { isInUse, type HeldRecord } from './held-record.ts';

export interface Reconciled {
  /** Records whose identity no entry gives any more. */
  readonly ended: readonly HeldRecord[];
  /** Records in use whose entry has changed or came back. */
  readonly changed: readonly HeldRecord[];
}

/**
 * Compares the records with the entries, and updates their identities. The caller does the rest.
 */
export function reconcile(
  records: Iterable<HeldRecord>,
  cache: SyncedEntryCache,
  now: number,
): Reconciled {
  const ended: HeldRecord[] = [];
  const changed: HeldRecord[] = [];
  for (const record of records) {
    const { entry } = record.identity;
    // most changes do not affect this record
    if (
      !record.withdrawn &&
      cache.get(entry.id) === entry &&
      (entry.expiresAt === 0 || entry.expiresAt > now)
    )
      continue;
    const identity = cache.identityFor(entry.id, record.selectors);
    if (identity === undefined || !identity.spiffeId.equals(record.identity.spiffeId)) {
      ended.push(record);
      continue;
    }
    const same = identity.entry.revision === entry.revision && !record.withdrawn;
    record.identity = identity;
    if (same) continue;
    Object.assign(record, { withdrawn: false, refusal: undefined, attempt: 0 });
    if (!record.signing) {
      // a request under the old revision is not repeated
      delete record.unanswered.requestId;
      delete record.unanswered.key;
    }
    if (record.svid !== undefined) record.svid = { ...record.svid, identity };
    if (isInUse(record)) changed.push(record);
  }
  return { ended, changed };
}

/**
 * The identities to obtain ahead of use: entries with few selectors first, up to the bound.
 * Templates are left out, since they depend on the process, and so are entries for file targets, which
 * no process is given.
 */
export function toPrefetch(
  records: ReadonlyMap<string, HeldRecord>,
  cache: SyncedEntryCache,
  bound: number,
): readonly Identity[] {
  let room = bound;
  for (const record of records.values()) if (record.prefetched) room -= 1;
  if (room <= 0) return [];
  const found: Identity[] = [];
  const candidates = [...cache.all()]
    .filter(
      ({ isTemplate, selectors }) =>
        !isTemplate && !selectors.some(({ type }) => type === 'target'),
    )
    .sort(
      (left, right) =>
        left.selectors.length - right.selectors.length || left.createdAt - right.createdAt,
    );
  for (const entry of candidates) {
    if (found.length >= room) break;
    const identity = cache.identityFor(entry.id, entry.selectors);
    if (identity !== undefined && !records.has(identityKey(identity))) found.push(identity);
  }
  return found;
}
