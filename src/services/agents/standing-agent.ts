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

/**
 * The active agent that got a certificate of an entry for its workload. With its end the certificate
 * gives no more rights, as it is not renewed any more.
 *
 * @throws PkiError AGENT_EVICTED, AGENT_BANNED, OBJECT_NOT_IN_LOG
 */
export async function holdingAgent(
  {
    agents,
    objects,
  }: {
    readonly agents: Pick<AgentStore, 'byId'>;
    readonly objects: Pick<ObjectLedger, 'require' | 'announceAbsent'>;
  },
  holder: string,
): Promise<Proven<Agent>> {
  const row = await agents.byId(holder);
  if (row === undefined) {
    objects.announceAbsent('agent', holder);
    throw new PkiError('AGENT_EVICTED', `there is no record of the agent ${holder}`);
  }
  const agent = objects.require('agent', row);
  if (agent.state === 'banned') throw new PkiError('AGENT_BANNED', `the agent ${holder} is banned`);
  if (agent.state !== 'active')
    throw new PkiError('AGENT_EVICTED', `the agent ${holder} was evicted`);
  return agent;
}
