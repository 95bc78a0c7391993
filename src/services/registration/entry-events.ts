import { selectorText } from '../../common/spiffe/index.ts';
import type { AuditEvent, AuditValue, EntryDraft, RegistrationEntry } from '../../domain/index.ts';
import type { EntryWrite } from '../../store/ports/index.ts';

const kinds = {
  create: 'entry.created',
  update: 'entry.updated',
  delete: 'entry.deleted',
} as const;

/**
 * The audit event of a write. It contains everything that the entry grants, so that the log alone
 * tells what was in force at a time.
 */
export function entryEvent(
  action: EntryWrite['action'],
  entry: EntryDraft,
  actor: string,
  timeMs: number,
): AuditEvent {
  return {
    timeMs,
    actor,
    kind: kinds[action],
    subject: entry.spiffeId,
    detail: entryDetail(entry),
  };
}

function entryDetail(entry: EntryDraft | RegistrationEntry): Readonly<Record<string, AuditValue>> {
  return {
    entry: entry.id,
    parent: entry.parentId,
    selectors: entry.selectors.map(selectorText),
    x509TtlSeconds: entry.x509TtlSeconds,
    jwtTtlSeconds: entry.jwtTtlSeconds,
    profile: entry.profile,
    dnsNames: entry.dnsNames,
    ips: entry.ips,
    hint: entry.hint,
    expiresAt: entry.expiresAt,
    admin: entry.admin,
    downstream: entry.downstream,
    allowWeakSelectors: entry.allowWeakSelectors,
    federatesWith: entry.federatesWith,
    placeholders: Object.entries(entry.placeholders)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, values]) => `${name}=${values.join(',')}`),
  };
}
