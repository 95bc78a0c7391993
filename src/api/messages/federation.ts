import type { Relationship } from '../../common/wire/generated/meshca/admin/v1/Relationship.ts';
import type { CreateRelationshipRequest__Output } from '../../common/wire/generated/meshca/admin/v1/CreateRelationshipRequest.ts';
import { endpointProfiles } from '../../domain/index.ts';
import type { FederationView, RelationshipDraft } from '../../services/services.ts';
import { oneOf } from './common.ts';

export const relationshipDraft = (
  request: CreateRelationshipRequest__Output,
): RelationshipDraft => ({
  trustDomain: request.trustDomain,
  endpointUrl: request.endpointUrl,
  endpointProfile: oneOf(
    'endpoint_profile',
    request.endpointProfile,
    endpointProfiles,
    'https_web',
  ),
  endpointSpiffeId: request.endpointSpiffeId,
  webRoots: request.webRootsDer.map((der) => der.toString('base64')),
  bundleDocument: request.bundleDocument,
});

export function relationshipMessage({
  relationship,
  bundle,
  leftOut,
  polls,
  everySeconds,
  stale,
}: FederationView): Relationship {
  return {
    trustDomain: relationship.trustDomain,
    id: relationship.id,
    endpointUrl: relationship.endpointUrl,
    endpointProfile: relationship.endpointProfile,
    endpointSpiffeId: relationship.endpointSpiffeId,
    webRootsDer: relationship.webRoots.map((root) => Buffer.from(root, 'base64')),
    createdAt: relationship.createdAt,
    createdBy: relationship.createdBy,
    bundle:
      bundle === undefined
        ? null
        : {
            sequence: bundle.sequence,
            refreshHintSeconds: bundle.refreshHintSeconds,
            rootsDer: bundle.roots.map((root) => Buffer.from(root, 'base64')),
            jwtKeyIds: bundle.jwtKeys.map(({ keyId }) => keyId),
            documentSha256: bundle.documentSha256,
            receivedAt: bundle.receivedAt,
            leftOutRoots: leftOut,
          },
    polls:
      polls === undefined
        ? null
        : {
            attemptedAt: polls.attemptedAt,
            refreshedAt: polls.refreshedAt,
            nextAt: polls.nextAt,
            everySeconds,
            failures: polls.failures,
            stale,
            failure:
              polls.failure === undefined
                ? null
                : {
                    code: polls.failure.code,
                    message: polls.failure.message,
                    next: polls.failure.next,
                  },
            shrunk:
              polls.shrunk === undefined
                ? null
                : {
                    at: polls.shrunk.at,
                    sequence: polls.shrunk.sequence,
                    lostRoots: [...polls.shrunk.lostRoots],
                    lostJwtKeys: [...polls.shrunk.lostJwtKeys],
                  },
          },
  };
}
