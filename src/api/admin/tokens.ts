import { pageOf } from '../messages/common.ts';
import { explanationMessage } from '../messages/tokens.ts';
import { tokenMessage } from '../messages/views.ts';
import type { OperationsOf } from '../operation.ts';

export const tokenOperations: OperationsOf<'meshca.admin.v1.Tokens'> = {
  CreateJoinToken: {
    admits: 'operators',
    dualControl: {
      when: 'the node would become the parent of an entry that matters, by its name or its selectors',
      matters: ({ agentName, nodeSelectors }, sights) =>
        sights.tokenMatters(agentName, nodeSelectors),
    },
    preview: async (_deps, _caller, { agentName, nodeSelectors }) => [
      'let a node join as ' +
        `${agentName}${nodeSelectors.length > 0 ? ` with the selectors ${nodeSelectors.join(', ')}` : ''}; ` +
        'what it could then obtain: meshca agent show',
    ],
    run: async ({ services }, caller, request, signal) => {
      const { record, ...secret } = await services.tokens.create(caller, request, signal);
      return tokenMessage(record, secret);
    },
  },
  ListJoinTokens: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page }, signal) => {
      const { items, next } = await services.tokens.list(caller, pageOf(page, signal));
      return { tokens: items.map((record) => tokenMessage(record)), nextPageToken: next ?? '' };
    },
  },
  RevokeJoinToken: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id, reason }) =>
      tokenMessage(await services.tokens.revoke(caller, id, reason)),
  },
  ListTokenIssuers: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller) => ({
      issuers: (await services.pipelines.issuers(caller)).map((issuer) => ({
        ...issuer,
        purposes: [...issuer.purposes],
        audiences: [...issuer.audiences],
        keyIds: [...issuer.keyIds],
      })),
    }),
  },
  ExplainIdentityToken: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { token }, signal) => {
      const explained = await services.pipelines.explain(caller, token, signal);
      return { ...explanationMessage(explained), refused: [...explained.refused] };
    },
  },
};
