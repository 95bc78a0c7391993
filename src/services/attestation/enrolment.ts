import { PkiError } from '../../common/errors/index.ts';
import { selectorText, SpiffeId, type Selector } from '../../common/spiffe/index.ts';
import { spiffeSubject, type AuditValue, type Requester, type Rights } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { IssuedLeaf } from '../../issuance/issuer.ts';
import type { AgentStore } from '../../store/ports/index.ts';
import { requesterOf, type AgentCaller } from '../callers/caller.ts';
import type { CallerRegistry } from '../callers/caller-registry.ts';
import { callerRights } from '../callers/caller-rights.ts';
import type { AgentSvid } from './node-attestation.ts';
import { issueOne, type IssuingDependencies } from '../issuing/decided.ts';
import { standingAgent } from '../agents/standing-agent.ts';

export interface EnrolmentDependencies extends IssuingDependencies {
  readonly agents: Pick<AgentStore, 'byId' | 'record'>;
  readonly authorities: Pick<Authorities, 'bundle'>;
  readonly callers: Pick<CallerRegistry, 'announce' | 'invalidate'>;
}

/** A node that has proved its identity, by any method. */
export interface ProvenNode {
  readonly agentId: string;
  readonly attestationType: string;
  readonly selectors: readonly Selector[];
  readonly act: 'attest' | 'recover';
  /** For `recover`: the session that must still be the present one. */
  readonly generation?: number;
  /** For `recover`: serial of the SVID whose key recovers. */
  readonly recovered?: string;
  /** For `recover`: the record of that SVID was lost with a restored database. */
  readonly lost?: boolean;
  readonly tokenId?: string;
  /** What judges the evidence again later, for the record of the attestation alone. */
  readonly recorded?: readonly string[] | undefined;
  /** The method and the proof, for the audit record. */
  readonly detail: Readonly<Record<string, AuditValue>>;
}

export interface AgentKey {
  readonly requestId: string;
  readonly csrDer: Buffer;
  readonly agentVersion: string;
  readonly peer: string;
  /** The signal of a renewal. Absent: the caller can not go away. */
  readonly signal?: AbortSignal | undefined;
}

/** Issues the SVIDs of agents, and records the session that begins or continues with one. */
export class Enrolment {
  readonly #dependencies: EnrolmentDependencies;

  constructor(dependencies: EnrolmentDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * Begins a new session. The earlier session of this agent ends, with its connections and streams.
   */
  async begin(node: ProvenNode, key: AgentKey): Promise<AgentSvid> {
    const attestedAt = this.#dependencies.clock.now();
    // A ban during the signature withholds the certificate. A new or evicted agent has no session
    // that a ban could end.
    const row = await this.#dependencies.agents.byId(node.agentId);
    const present =
      row === undefined ? undefined : this.#dependencies.objects.require('agent', row);
    const rights: Rights =
      present?.state === 'active'
        ? [{ kind: 'agent', spiffeId: present.spiffeId, generation: present.generation }]
        : [];
    const leaf = await issueOne(this.#dependencies, {
      ...this.#request({ class: 'node', name: node.agentId }, node.selectors, key),
      replaces: null,
      rights,
      reason: { ...node.detail, peer: key.peer },
    });
    const agent = await this.#dependencies.agents.record({
      agent: {
        spiffeId: node.agentId,
        attestationType: node.attestationType,
        selectors: node.selectors,
        serial: leaf.serial,
        spkiDer: leaf.spkiDer,
        attestedAt,
        renewedAt: attestedAt,
        svidNotAfter: leaf.notAfter,
        version: key.agentVersion,
      },
      act: node.act,
      ...(node.generation === undefined ? {} : { generation: node.generation }),
      ...(node.recovered === undefined ? {} : { recovered: node.recovered }),
      ...(node.lost === undefined ? {} : { lost: node.lost }),
      ...(node.tokenId === undefined ? {} : { tokenId: node.tokenId }),
      event: {
        timeMs: this.#dependencies.clock.nowMs(),
        actor: node.agentId,
        kind: node.act === 'attest' ? 'agent.attested' : 'agent.recovered',
        subject: node.agentId,
        detail: {
          ...node.detail,
          peer: key.peer,
          serial: leaf.serial,
          selectors: node.selectors.map(selectorText),
          version: key.agentVersion,
          ...(node.recorded === undefined ? {} : { evidence: node.recorded }),
        },
      },
    });
    this.#dependencies.callers.announce({
      kind: 'identity',
      spiffeId: node.agentId,
      beforeGeneration: agent.generation,
      error: new PkiError(
        'AGENT_SUPERSEDED',
        `a new session of ${node.agentId} began from ${key.peer}`,
      ),
    });
    return { leaf, bundle: this.#dependencies.authorities.bundle() };
  }

  /**
   * Repeats a lost answer: issuance returns the recorded certificate, and nothing new is recorded.
   */
  async repeat(node: ProvenNode, key: AgentKey, serial: string): Promise<AgentSvid | undefined> {
    const leaf: IssuedLeaf = await issueOne(this.#dependencies, {
      ...this.#request({ class: 'node', name: node.agentId }, node.selectors, key),
      replaces: null,
      rights: [],
      reason: { ...node.detail, peer: key.peer },
    });
    return leaf.serial === serial
      ? { leaf, bundle: this.#dependencies.authorities.bundle() }
      : undefined;
  }

  async renew(caller: AgentCaller, key: AgentKey): Promise<AgentSvid> {
    const agent = await standingAgent(this.#dependencies, caller);
    const leaf = await issueOne(this.#dependencies, {
      ...this.#request(requesterOf(caller), agent.selectors, key),
      replaces: caller.serial,
      rights: callerRights(caller),
      reason: { method: 'renew', peer: key.peer, renewed: caller.serial },
    });
    const renewedAt = this.#dependencies.clock.now();
    await this.#dependencies.agents.record({
      agent: {
        spiffeId: caller.spiffeId,
        attestationType: agent.attestationType,
        selectors: agent.selectors,
        serial: leaf.serial,
        spkiDer: leaf.spkiDer,
        attestedAt: agent.attestedAt,
        renewedAt,
        svidNotAfter: leaf.notAfter,
        version: key.agentVersion,
      },
      act: 'renew',
      generation: caller.generation,
      renewed: caller.serial,
      event: {
        timeMs: this.#dependencies.clock.nowMs(),
        actor: caller.spiffeId,
        kind: 'agent.renewed',
        subject: caller.spiffeId,
        detail: { serial: leaf.serial, renewed: caller.serial, peer: key.peer },
      },
    });
    this.#dependencies.callers.invalidate();
    return { leaf, bundle: this.#dependencies.authorities.bundle() };
  }

  #request(agent: Requester, selectors: readonly Selector[], key: AgentKey) {
    return {
      requestId: key.requestId,
      csrDer: key.csrDer,
      subject: spiffeSubject(SpiffeId.of(agent.name)),
      kind: 'agent',
      profile: 'short-lived',
      ttlSeconds: this.#dependencies.settings.agentTtlSeconds,
      endsWithIssuer: true,
      caller: agent,
      holder: agent.name,
      entryId: null,
      delegationId: null,
      nodeSelectors: selectors.map(selectorText),
      signal: key.signal,
    } as const;
  }
}
