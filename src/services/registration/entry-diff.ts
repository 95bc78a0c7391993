import { selectorText } from '../../common/spiffe/index.ts';
import type { EntryDraft, RegistrationEntry } from '../../domain/index.ts';

/**
 * Two entries with the same key grant the same to the same processes, whatever their IDs. The store
 * allows each key once.
 */
export const grantKey = (entry: Pick<EntryDraft, 'spiffeId' | 'parentId' | 'selectors'>): string =>
  JSON.stringify([entry.spiffeId, entry.parentId, entry.selectors.map(selectorText).sort()]);

/** Whether an entry already equals the draft. */
export function isUnchanged(entry: RegistrationEntry, draft: EntryDraft): boolean {
  return comparable(entry) === comparable(draft);
}

function comparable(entry: EntryDraft): string {
  return JSON.stringify([
    entry.id,
    entry.spiffeId,
    entry.isTemplate,
    Object.entries(entry.placeholders).sort(([a], [b]) => (a < b ? -1 : 1)),
    entry.parentId,
    entry.selectors.map(selectorText),
    entry.x509TtlSeconds,
    entry.jwtTtlSeconds,
    entry.profile,
    entry.dnsNames,
    entry.hint,
    entry.expiresAt,
    entry.admin,
    entry.downstream,
    entry.allowWeakSelectors,
    entry.federatesWith,
    entry.ips,
  ]);
}
