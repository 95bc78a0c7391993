import {
  lineFrom,
  type Agent,
  type AgentLine,
  type ConsumerRecord,
  type Proven,
} from '../domain/index.ts';
import type { AgentStore } from '../store/ports/index.ts';
import type { Confirmations } from './confirmations.ts';
import type { Objects } from './objects.ts';

/** Agents, and the reports about their consumers that this process received. */
export interface LedgerAgents extends Omit<AgentStore, 'line'> {
  /**
   * The SVIDs of this agent that count, as the log vouches for them.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG
   */
  lineOf(agent: Proven<Agent>): Promise<AgentLine>;
  /** NOT_FOUND for an unknown agent. */
  replaceConsumers(agentId: string, consumers: readonly ConsumerRecord[]): Promise<void>;
  updateConsumers(
    agentId: string,
    changed: readonly ConsumerRecord[],
    removedIds: readonly string[],
  ): Promise<void>;
  consumers(agentId: string): Promise<readonly ConsumerRecord[]>;
}

export const ledgerAgents = (
  rows: AgentStore,
  confirmations: Confirmations,
  objects: Pick<Objects, 'requireRow'>,
): LedgerAgents => ({
  record: (attestation) => rows.record(attestation),
  use: (use) => rows.use(use),
  lineOf: async (agent) => {
    const line = await rows.line(agent.spiffeId);
    objects.requireRow('agent-line', agent.spiffeId, line);
    // an older release recorded the agent
    return line ?? lineFrom(agent);
  },
  byId: (spiffeId, signal) => rows.byId(spiffeId, signal),
  list: (filter, page) => rows.list(filter, page),
  setState: (spiffeId, state, reason, event) => rows.setState(spiffeId, state, reason, event),
  seen: (spiffeId, seen) => rows.seen(spiffeId, seen),
  replaceConsumers: (agentId, consumers) => confirmations.replace(agentId, consumers),
  updateConsumers: (agentId, changed, removedIds) =>
    confirmations.update(agentId, changed, removedIds),
  consumers: (agentId) => confirmations.list(agentId),
});
