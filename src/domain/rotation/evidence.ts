import {
  encodeEvidence,
  type ActivationEvidence,
  type EvidenceLine,
  type EvidenceStatement,
} from '../../common/tlog/index.ts';
import type { ConsumerRecord } from '../agent.ts';
import { isNamesAuthority, type Authority, type AuthorityScope } from '../authority.ts';
import {
  agentCounts,
  consumerCounts,
  holding,
  isInferred,
  laggardOf,
  silentAgent,
  unprovableUntil,
  type Confirmation,
  type Held,
  type Laggard,
} from './confirmation.ts';
import type { ActivationProof, RotationPolicy, RotationWorld, Shares } from './types.ts';

export interface EvidenceInput {
  /** In state `published`. */
  readonly authority: Authority;
  /** SHA-256 of its certificate, or for a JWT key of its SubjectPublicKeyInfo, hex. */
  readonly sha256: string;
  /** The root above an issuing authority. */
  readonly root: { readonly id: string; readonly sha256: string } | undefined;
  readonly scope: AuthorityScope;
  readonly without: ActivationProof;
  readonly shares: Shares;
  readonly found: Confirmation | undefined;
  /** The facts that the decision rested on. */
  readonly world: RotationWorld;
  /** The SHA-256 (hex) of each authority in a set that was handed out. */
  readonly membersOf: (digest: string) => readonly string[];
  /** See EvidenceStatement. */
  readonly relied: number;
  readonly policy: RotationPolicy;
  readonly now: number;
}

/**
 * The consumers that were counted when this authority began to sign: the same facts and the same
 * rules as in `confirmation`. Pure.
 */
export function activationEvidence(input: EvidenceInput): ActivationEvidence {
  const lines = [...evidenceLines(input)].sort((one, other) =>
    placeOf(one) < placeOf(other) ? -1 : 1,
  );
  return encodeEvidence(statementOf(input, lines), lines);
}

function statementOf(
  input: EvidenceInput,
  lines: readonly EvidenceLine[],
): Omit<EvidenceStatement, 'chunks' | 'lines'> {
  const { authority, found: confirmation } = input;
  const used = new Set(lines.flatMap((line) => (line.class === 'proven' ? [line.set] : [])));
  const count = (of: EvidenceLine['class']): number =>
    lines.reduce((sum, line) => sum + (line.class === of ? 1 : 0), 0);
  const confirmed = count('proven');
  return {
    alteredAgents: isNamesAuthority(authority.kind) ? 0 : (input.world.alteredAgents ?? 0),
    authority: {
      id: authority.id,
      kind: authority.kind,
      publishedAt: authority.publishedAt ?? 0,
      sha256: input.sha256,
    },
    decidedAt: input.now,
    inferred: {
      needed: confirmation?.inferred.needed ?? 0,
      confirmed: confirmation?.inferred.confirmed ?? 0,
      relied: input.relied,
      until: confirmation?.inferred.until ?? 0,
    },
    proven: { needed: confirmed + count('passed-over'), confirmed },
    root: input.root ?? null,
    scope: JSON.stringify(input.scope),
    sets: [...used]
      .sort()
      .map((digest) => ({ digest, members: [...input.membersOf(digest)].sort() })),
    shares: input.shares,
    unprovable: {
      until: confirmation?.unprovable.until ?? unprovableUntil(authority, input.policy, input.now),
    },
    without: withoutOf(input.without),
  };
}

const withoutOf = (without: ActivationProof): EvidenceStatement['without'] => ({
  kind: without.kind,
  by: without.kind === 'forced' ? without.by : '',
  reason: without.kind === 'forced' ? without.reason : '',
  deadline:
    without.kind === 'deadline' ? without.deadline : without.kind === 'ended' ? without.ended : 0,
});

function* evidenceLines(input: EvidenceInput): Generator<EvidenceLine> {
  const { authority, root, world, policy, now } = input;
  // whoever relies on names never reports
  if (isNamesAuthority(authority.kind)) return;
  const margin = policy.retireMarginSeconds;
  const counted = new Map(
    world.agents
      .filter((agent) => agentCounts(agent, now, margin))
      .map((agent) => [agent.id, agent]),
  );
  const why = reasonOf(input.without);
  const reported = new Set<string>();
  for (const consumer of world.consumers) {
    const agent = counted.get(consumer.agentId);
    if (agent === undefined || !consumerCounts(consumer, now, margin)) continue;
    if (consumer.kind === agent.kind) reported.add(agent.id);
    // counted in the statement, as those are whom nobody reports
    if (isInferred(consumer)) continue;
    const holdingState = holding(authority, root?.id, consumer, world.sets);
    if (holdingState === 'missing')
      yield passedOver(laggardOf(authority, consumer, agent, world.sets), consumer.id, why);
    else if (holdingState !== 'not needed') yield proven(consumer, holdingState);
  }
  for (const agent of counted.values())
    if (!reported.has(agent.id)) yield passedOver(silentAgent(agent), '', why);
  // agents that had to be waited for at publication, and whose time has passed
  for (const agent of world.agents) {
    if (
      agent.active &&
      !counted.has(agent.id) &&
      agent.lastLeafNotAfter + margin >= (authority.publishedAt ?? now)
    )
      yield { agent: agent.id, class: 'expired', until: agent.lastLeafNotAfter };
  }
}

type PassedOver = Extract<EvidenceLine, { class: 'passed-over' }>;

const reasonOf = ({ kind }: ActivationProof): PassedOver['why'] =>
  kind === 'forced' ? 'force' : kind === 'proven' ? 'share' : kind;

function passedOver(laggard: Laggard, consumer: string, why: PassedOver['why']): EvidenceLine {
  const { agentId, description, holds, kind, lastSeenAt, reason, spiffeId, state, until } = laggard;
  return {
    agent: agentId,
    class: 'passed-over',
    consumer,
    description,
    holds,
    kind,
    lastSeenAt,
    reason,
    spiffeId,
    state,
    until,
    why,
  };
}

function proven(consumer: ConsumerRecord, holding: Held): EvidenceLine {
  const { id, agentId, description, kind, since, spiffeId, heardAt = 0 } = consumer;
  return {
    agent: agentId,
    class: 'proven',
    consumer: id,
    description,
    heardAt,
    kind,
    of: holding.of,
    set: holding.digest,
    since,
    spiffeId,
  };
}

const placeOf = (line: EvidenceLine): string =>
  `${line.agent} ${line.class === 'expired' ? '' : line.consumer}`;
