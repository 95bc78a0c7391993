import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { SpiffeId } from '../../common/spiffe/index.ts';
import type { Agent, AgentNames } from '../../domain/index.ts';
import type { AgentStore } from '../../store/ports/index.ts';
import type { ServiceSettings } from '../settings.ts';
import type { ProvenNode } from './enrolment.ts';
import { checkKeyProof } from './key-proof.ts';

export interface RecoveryDependencies {
  readonly agents: Pick<AgentStore, 'byId'>;
  readonly attestors: AgentNames;
  readonly clock: Pick<Clock, 'now'>;
  readonly settings: Pick<ServiceSettings, 'trustDomain' | 'recoveryGraceSeconds'>;
}

/**
 * An agent whose SVID has expired comes back by the key of that SVID, within the grace. Any ID gets
 * a challenge; whether there is such an agent, or what became of it, is said to its key alone.
 */
export class Recovery {
  readonly #deps: RecoveryDependencies;

  constructor(deps: RecoveryDependencies) {
    this.#deps = deps;
  }

  /** Throws ATTESTATION_FAILED. */
  checkId(spiffeId: string): void {
    const id = SpiffeId.parse(spiffeId);
    if (!id.ok || !this.#deps.attestors.isAgent(id.value))
      throw new PkiError('ATTESTATION_FAILED', 'the ID is not of an agent of this trust domain');
  }

  /** The agent whose newest key signed the message. Throws ATTESTATION_FAILED. */
  async prove(
    spiffeId: string,
    serial: string,
    message: Buffer,
    signature: Buffer,
  ): Promise<Agent> {
    const agent = await this.#deps.agents.byId(spiffeId);
    if (agent === undefined || agent.serial !== serial)
      throw new PkiError(
        'ATTESTATION_FAILED',
        'no agent with this ID has this certificate as its newest',
      );
    checkKeyProof(agent.spkiDer, message, signature);
    return agent;
  }

  /** Throws AGENT_BANNED, AGENT_EVICTED, RENEWAL_GRACE_EXCEEDED. */
  recovering(agent: Agent): ProvenNode {
    if (agent.state === 'banned')
      throw new PkiError('AGENT_BANNED', `the agent ${agent.spiffeId} is banned`);
    if (agent.state === 'evicted')
      throw new PkiError('AGENT_EVICTED', `the agent ${agent.spiffeId} was evicted`);
    const { recoveryGraceSeconds } = this.#deps.settings;
    if (this.#deps.clock.now() > agent.svidNotAfter + recoveryGraceSeconds)
      throw new PkiError(
        'RENEWAL_GRACE_EXCEEDED',
        `the last SVID expired at ${new Date(agent.svidNotAfter * 1000).toISOString()}, longer ago than ${recoveryGraceSeconds} s`,
      );
    return {
      agentId: agent.spiffeId,
      attestationType: agent.attestationType,
      selectors: agent.selectors,
      act: 'recover',
      generation: agent.generation,
      detail: { method: 'expired_svid', recovered: agent.serial },
    };
  }
}
