import type { AgentState } from '../../domain/index.ts';
import { oneOf, pageOf } from '../messages/common.ts';
import { entryMessage } from '../messages/entries.ts';
import { agentMessage } from '../messages/views.ts';
import type { OperationsOf } from '../operation.ts';

const agentStates: readonly AgentState[] = ['active', 'banned', 'evicted'];

export const agentOperations: OperationsOf<'meshca.admin.v1.Agents'> = {
  ListAgents: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page, state }, signal) => {
      const { items, next } = await services.agents.list(
        caller,
        state === '' ? {} : { state: oneOf('state', state, agentStates, 'active') },
        pageOf(page, signal),
      );
      return { agents: items.map(agentMessage), nextPageToken: next ?? '' };
    },
  },
  GetAgent: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { spiffeId }, signal) => {
      const detail = await services.agents.get(caller, spiffeId, signal);
      return {
        agent: agentMessage(detail.agent),
        parentIds: [...detail.parentIds],
        obtainableEntries: detail.obtainable.map(entryMessage),
        obtainableTotal: detail.obtainableTotal,
        liveCertificates: detail.liveCertificates,
        lastNotAfter: detail.lastNotAfter,
        consumers: [...detail.consumers],
      };
    },
  },
  BanAgent: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { spiffeId, reason }) =>
      agentMessage(await services.agents.ban(caller, spiffeId, reason)),
  },
  KeepAgent: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { spiffeId, instanceId, reason }) =>
      agentMessage(await services.agents.keep(caller, spiffeId, { instanceId, reason })),
  },
  EvictAgent: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { spiffeId, reason }) =>
      agentMessage(await services.agents.evict(caller, spiffeId, reason)),
  },
};
