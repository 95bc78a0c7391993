import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { Agent, Proven } from '../../domain/index.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import type { AgentStore, JoinTokenStore } from '../../store/ports/index.ts';
import type { SingleUse } from '../tokens/single-use.ts';
import type { AgentKey, Enrolment, ProvenNode } from './enrolment.ts';
import type { AgentSvid } from './node-attestation.ts';
import type { EvidenceUse } from './node-attestor.ts';

export interface EvidenceMarkDependencies {
  readonly agents: Pick<AgentStore, 'byId'>;
  readonly tokens: Pick<JoinTokenStore, 'bind'>;
  readonly enrolment: Pick<Enrolment, 'begin' | 'repeat'>;
  readonly singleUse: Pick<SingleUse, 'redeem'>;
  readonly clock: Pick<Clock, 'now' | 'nowMs'>;
  readonly objects: Pick<ObjectLedger, 'require'>;
}

interface MarkedKey extends AgentKey {
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly sha256: string;
}

/**
 * Whether evidence may still be used. The marks are rows that the log commits to: the join token
 * with the key and certificate that it led to; for evidence that counts once, the agent itself.
 */
export class EvidenceMarks {
  readonly #dependencies: EvidenceMarkDependencies;

  constructor(dependencies: EvidenceMarkDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Enrols the node, or repeats a lost answer.
   *
   * @throws PkiError AGENT_BANNED, ATTESTATION_FAILED if the ID belongs to another type, and the
   *   error of the evidence for a second use
   */
  async redeem(node: ProvenNode, use: EvidenceUse, key: MarkedKey): Promise<AgentSvid> {
    const agentRow = await this.#dependencies.agents.byId(node.agentId);
    const agent =
      agentRow === undefined ? undefined : this.#dependencies.objects.require('agent', agentRow);
    if (agent?.state === 'banned')
      throw new PkiError('AGENT_BANNED', `the agent ${node.agentId} is banned`);
    if (agent !== undefined && agent.attestationType !== node.attestationType)
      throw new PkiError(
        'ATTESTATION_FAILED',
        `the agent ${node.agentId} attested with the type ${agent.attestationType}, and an ` +
          'agent never changes its type',
        { next: 'Join under another name.' },
      );
    switch (use.kind) {
      case 'repeatable':
        return this.#dependencies.enrolment.begin(node, key);
      case 'once':
        return this.#once(node, agent, key);
      case 'token':
        return this.#token(node, agent, use, key);
      case 'identity-token':
        return this.#identityToken(node, agent, use, key);
    }
  }

  async #once(
    node: ProvenNode,
    agent: Proven<Agent> | undefined,
    key: MarkedKey,
  ): Promise<AgentSvid> {
    if (agent?.state !== 'active') return this.#dependencies.enrolment.begin(node, key);
    const repeated = this.#stands(agent, agent.serial)
      ? await this.#dependencies.enrolment.repeat(node, key, agent.serial)
      : undefined;
    if (repeated === undefined)
      throw new PkiError(
        'ATTESTATION_FAILED',
        `the agent ${node.agentId} has already attested, and evidence of the type ${node.attestationType} counts once`,
        {
          next: 'If this node may join again, evict the agent (meshca agent evict) and let it attest again.',
        },
      );
    return repeated;
  }

  async #token(
    proven: ProvenNode,
    agent: Proven<Agent> | undefined,
    { tokenId, refused }: Extract<EvidenceUse, { kind: 'token' }>,
    key: MarkedKey,
  ): Promise<AgentSvid> {
    const { clock, tokens } = this.#dependencies;
    const bound = await tokens.bind(
      tokenId,
      { publicKeySha256: key.sha256, now: clock.now() },
      {
        timeMs: clock.nowMs(),
        actor: proven.agentId,
        kind: 'token.bound',
        subject: proven.agentId,
        detail: { token: tokenId, publicKeySha256: key.sha256, peer: key.peer },
      },
    );
    if (bound.boundPublicKeySha256 !== key.sha256) throw refused();
    const node = { ...proven, tokenId };
    // The token itself identifies the request: the same token and key lead to one certificate,
    // whatever request ID a repeated call has.
    const once = { ...key, requestId: tokenId };
    if (bound.resultSerial === null) return this.#dependencies.enrolment.begin(node, once);
    // The token was used. Repeat the answer while the session that it began still has its first
    // certificate.
    const repeated = this.#stands(agent, bound.resultSerial)
      ? await this.#dependencies.enrolment.repeat(node, once, bound.resultSerial)
      : undefined;
    if (repeated === undefined) throw refused();
    return repeated;
  }

  async #identityToken(
    node: ProvenNode,
    agent: Proven<Agent> | undefined,
    { token, refused }: Extract<EvidenceUse, { kind: 'identity-token' }>,
    key: MarkedKey,
  ): Promise<AgentSvid> {
    const { singleUse, enrolment } = this.#dependencies;
    const { agentId } = node;
    let svid: AgentSvid | undefined;
    await singleUse.redeem(
      token,
      { requester: agentId, grantee: agentId, publicKeySha256: key.sha256, peer: key.peer },
      async (requestId, repeated) => {
        const once = { ...key, requestId };
        if (repeated === undefined) svid = await enrolment.begin(node, once);
        else if (this.#stands(agent, repeated)) svid = await enrolment.repeat(node, once, repeated);
        if (svid === undefined) throw refused();
        return svid.leaf;
      },
    );
    if (svid === undefined) throw refused();
    return svid;
  }

  #stands(agent: Proven<Agent> | undefined, serial: string): boolean {
    return (
      agent?.state === 'active' &&
      agent.serial === serial &&
      agent.svidNotAfter > this.#dependencies.clock.now()
    );
  }
}
