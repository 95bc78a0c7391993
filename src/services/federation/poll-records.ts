import { readCanonical, type AcceptedBundle, type AuditEvent } from '../../domain/index.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import type { PollRecord } from './poll-state.ts';

/** How often it is put on record that an endpoint has confirmed its bundle. */
export const confirmationSeconds = 3_600;

const readRecords = 100;
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
  const { items } = await audit.list(
    { subject: `spiffe://${trustDomain}`, newestFirst: true },
    { size: readRecords },
  );
  const last = items
    .filter(({ kind }) => pollKinds.includes(kind))
    .map(({ canonical }) => readCanonical(canonical))
    .find((event) => event?.detail['relationship'] === relationshipId);
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
