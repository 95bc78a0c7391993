import {
  readCanonical,
  type AcceptedBundle,
  type AuditEvent,
  type AuditStatement,
} from '../../domain/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { AuditFilter, AuditStore } from '../../store/ports/index.ts';
import type { PollRecord } from './poll-state.ts';

/** How often it is put on record that an endpoint has confirmed its bundle. */
export const confirmationSeconds = 3_600;

/** Most often it is one of the first. */
const recordsOnPage = 100;
const pollKinds: readonly string[] = ['federation.bundle-stale', 'federation.bundle-confirmed'];

interface OfRelationship {
  readonly trustDomain: string;
  readonly relationshipId: string;
}

/** The bundle is stale: `refreshedAt`: the last poll that confirmed it. */
export const staleEvent = (
  { trustDomain, relationshipId }: OfRelationship,
  refreshedAt: number,
  timeMs: number,
): AuditEvent => ({
  timeMs,
  actor: 'server',
  kind: 'federation.bundle-stale',
  subject: `spiffe://${trustDomain}`,
  detail: { relationship: relationshipId, refreshedAt },
});

/** The endpoint has confirmed the bundle now. */
export const confirmedEvent = (
  { trustDomain, relationshipId }: OfRelationship,
  timeMs: number,
): AuditEvent => ({
  timeMs,
  actor: 'server',
  kind: 'federation.bundle-confirmed',
  subject: `spiffe://${trustDomain}`,
  detail: { relationship: relationshipId, refreshedAt: Math.floor(timeMs / 1000) },
});

/** What the log says of the polls of earlier processes. It tells operators, and decides nothing. */
export async function pollRecord(
  audit: Pick<AuditStore, 'list'>,
  { trustDomain, relationshipId }: OfRelationship,
  accepted: AcceptedBundle | undefined,
): Promise<PollRecord> {
  const subject = `spiffe://${trustDomain}`;
  let last: AuditStatement | undefined;
  let sequence = -1;
  for (const kind of pollKinds) {
    const filter = { subject, kind, newestFirst: true };
    const newest = await newestOf(audit, filter, relationshipId);
    if (newest === undefined || newest.sequence < sequence) continue;
    last = newest.statement;
    ({ sequence } = newest);
  }
  const told = last?.detail['refreshedAt'];
  const confirmedAt = typeof told === 'number' ? told : undefined;
  const acceptedAt = accepted?.receivedAt;
  const isNewer = acceptedAt !== undefined && acceptedAt > (confirmedAt ?? 0);
  return {
    refreshedAt: isNewer ? acceptedAt : confirmedAt,
    stale: last?.kind === 'federation.bundle-stale' && !isNewer,
    shrunk: accepted?.shrunk,
  };
}

/** Of an earlier relationship with the same trust domain there may be records too. */
async function newestOf(
  audit: Pick<AuditStore, 'list'>,
  filter: AuditFilter,
  relationshipId: string,
): Promise<{ readonly sequence: number; readonly statement: AuditStatement } | undefined> {
  const pages = pagesOf((page) => audit.list(filter, page), { size: recordsOnPage });
  for await (const records of pages)
    for (const { sequence, canonical } of records) {
      const statement = readCanonical(canonical);
      if (statement?.detail['relationship'] === relationshipId) return { sequence, statement };
    }
  return undefined;
}
