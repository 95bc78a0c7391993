import { relationshipDraft, relationshipMessage } from '../messages/federation.ts';
import type { OperationsOf } from '../operation.ts';
import { relationshipPreview } from '../preview/federation.ts';

export const federationOperations: OperationsOf<'meshca.admin.v1.Federation'> = {
  CreateRelationship: {
    admits: 'operators',
    dualControl: 'always',
    preview: async (_dependencies, _caller, request) => relationshipPreview(request),
    run: async ({ services }, caller, request, signal) =>
      relationshipMessage(
        await services.federation.create(caller, relationshipDraft(request), signal),
      ),
  },
  ListRelationships: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller) => ({
      relationships: (await services.federation.list(caller)).map(relationshipMessage),
    }),
  },
  GetRelationship: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { trustDomain }) =>
      relationshipMessage(await services.federation.get(caller, trustDomain)),
  },
  RefreshRelationship: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { trustDomain }) =>
      relationshipMessage(await services.federation.refresh(caller, trustDomain)),
  },
  DeleteRelationship: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { trustDomain, reason }) => {
      await services.federation.delete(caller, trustDomain, reason);
      return {};
    },
  },
};
