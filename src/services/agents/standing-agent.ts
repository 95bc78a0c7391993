import { PkiError } from '../../common/errors/index.ts';
import type { Agent, Proven } from '../../domain/index.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import type { AgentStore } from '../../store/ports/index.ts';
import type { AgentCaller } from '../callers/caller.ts';

/**
 * The recorded agent of a caller whose session is the agent's present one.
 *
 * @throws PkiError AGENT_EVICTED, AGENT_BANNED, AGENT_SUPERSEDED, OBJECT_NOT_IN_LOG
 */
export async function standingAgent(
  {
    agents,
    objects,
  }: { readonly agents: Pick<AgentStore, 'byId'>; readonly objects: Pick<ObjectLedger, 'require'> },
  caller: AgentCaller,
): Promise<Proven<Agent>> {
  const agent = await agents.byId(caller.spiffeId);
  if (agent === undefined || agent.state === 'evicted')
    throw new PkiError(
      'AGENT_EVICTED',
      `the agent ${caller.spiffeId} has no record, or was evicted`,
    );
  if (agent.state === 'banned')
    throw new PkiError('AGENT_BANNED', `the agent ${caller.spiffeId} is banned`);
  if (agent.generation !== caller.generation)
    throw new PkiError('AGENT_SUPERSEDED', `a newer session of ${caller.spiffeId} took over`);
  return objects.require('agent', agent);
}
