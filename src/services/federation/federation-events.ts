import type { AuditEvent, FederationRelationship, JudgedBundle } from '../../domain/index.ts';
import { rootSha256 } from '../../domain/index.ts';

type Act = Pick<AuditEvent, 'actor' | 'timeMs'>;

const subjectOf = (trustDomain: string): string => `spiffe://${trustDomain}`;

/** The log alone tells which keys counted when. */
export const acceptedEvent = (
  { bundle, lostRoots, lostJwtKeys, leftOut }: JudgedBundle,
  actor: string,
  timeMs: number,
): AuditEvent => ({
  timeMs,
  actor,
  kind: 'federation.bundle-accepted',
  subject: subjectOf(bundle.trustDomain),
  detail: {
    relationship: bundle.relationshipId,
    sequence: bundle.sequence,
    receivedAt: bundle.receivedAt,
    document: bundle.documentSha256,
    roots: bundle.roots.map(rootSha256),
    jwtKeys: bundle.jwtKeys.map(({ keyId }) => keyId),
    lostRoots: [...lostRoots],
    lostJwtKeys: [...lostJwtKeys],
    ...(leftOut > 0 ? { leftOut } : {}),
  },
});

export const createdEvent = (
  relationship: FederationRelationship,
  { actor, timeMs }: Act,
): AuditEvent => ({
  timeMs,
  actor,
  kind: 'federation.created',
  subject: subjectOf(relationship.trustDomain),
  detail: {
    relationship: relationship.id,
    endpointUrl: relationship.endpointUrl,
    endpointProfile: relationship.endpointProfile,
    endpointSpiffeId: relationship.endpointSpiffeId,
    webRoots: relationship.webRoots.map(rootSha256),
  },
});

export const deletedEvents = (
  trustDomain: string,
  reason: string,
  act: Act,
): { readonly event: AuditEvent; readonly withdrawn: AuditEvent } => {
  const event = { ...act, subject: subjectOf(trustDomain), detail: { reason } };
  return {
    event: { ...event, kind: 'federation.deleted' },
    withdrawn: { ...event, kind: 'federation.bundle-withdrawn' },
  };
};
