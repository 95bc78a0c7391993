import type { PkiError } from '../../common/errors/index.ts';
import { readCanonical, type Agent } from '../../domain/index.ts';
import { newestRecord } from '../../store/newest-record.ts';
import type { AuditStore } from '../../store/ports/index.ts';
import type { NodeAttestors } from '../attestation/node-attestors.ts';

export interface AgentEvidenceDependencies {
  readonly audit: Pick<AuditStore, 'list'>;
  readonly attestors: Pick<NodeAttestors, 'revoked' | 'revokes'>;
}

const remembered = 10_000;

/**
 * Whether the evidence that let an agent in was revoked since. It is shown to operators, and no
 * decision rests on it: the agent stands until somebody ends it. Owner of what it read of the log.
 */
export class AgentEvidence {
  readonly #dependencies: AgentEvidenceDependencies;
  readonly #recorded = new Map<string, readonly string[]>();

  constructor(dependencies: AgentEvidenceDependencies) {
    this.#dependencies = dependencies;
  }

  /** Undefined: it was not revoked, or nobody can tell. */
  async revoked(agent: Agent): Promise<PkiError | undefined> {
    const { attestors } = this.#dependencies;
    const { attestationType, state } = agent;
    if (state !== 'active' || !attestors.revokes(attestationType)) return undefined;
    const recorded = await this.#of(agent);
    return recorded.length === 0 ? undefined : attestors.revoked(attestationType, recorded);
  }

  async #of({ spiffeId, attestedAt }: Agent): Promise<readonly string[]> {
    const key = `${spiffeId} ${attestedAt}`;
    const known = this.#recorded.get(key);
    if (known !== undefined) return known;
    const record = await newestRecord(this.#dependencies.audit, {
      subject: spiffeId,
      kind: 'agent.attested',
    });
    const evidence = record && readCanonical(record.canonical)?.detail['evidence'];
    const recorded = Array.isArray(evidence) ? (evidence as readonly string[]) : [];
    if (this.#recorded.size >= remembered)
      this.#recorded.delete(this.#recorded.keys().next().value as string);
    this.#recorded.set(key, recorded);
    return recorded;
  }
}
