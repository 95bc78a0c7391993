import type { ConsumerRecord } from '../agent.ts';
import type { Authority } from '../authority.ts';
import {
  isRotated,
  type AgentFacts,
  type RotatedKind,
  type RotationPolicy,
  type RotationWorld,
  type Shares,
} from './types.ts';

/** One that has not confirmed, by name. */
export interface Laggard {
  readonly agentId: string;
  /** Empty: the agent itself. */
  readonly consumerId: string;
  readonly kind: string;
  readonly spiffeId: string;
  readonly description: string;
  /**
   * `absent`: its agent is not connected. `silent`: it has said nothing yet. `departed`: it left
   * with a certificate. `lost`: the new session of its agent does not know it.
   */
  readonly state: 'absent' | 'silent' | 'pending' | 'refused' | 'behind' | 'departed' | 'lost';
  readonly reason: string;
  readonly lastSeenAt: number;
  /** IDs of the authorities of this kind that it holds, as far as is known. */
  readonly holds: readonly string[];
  /**
   * It is left out after this instant: its own certificate (departed, lost), or else the last leaf
   * issued through its agent, has expired by then.
   */
  readonly until: number;
}

/** The three classes, counted apart. */
export interface Confirmation {
  readonly proven: {
    readonly needed: number;
    readonly confirmed: number;
    readonly laggards: readonly Laggard[];
  };
  readonly inferred: {
    readonly needed: number;
    readonly confirmed: number /** 0: nothing to wait for. */;
    readonly until: number;
  };
  readonly unprovable: { /** 0: nothing to wait for. */ readonly until: number };
  /**
   * Agents whose rows are not as the log has them: while there are any, nothing counts as
   * confirmed. Default 0.
   */
  readonly alteredAgents?: number;
}

/**
 * An agent counts while it is connected or may come back with a credential that is still valid, by
 * a clock that runs `marginSeconds` behind.
 */
export const agentCounts = (agent: AgentFacts, now: number, marginSeconds: number): boolean =>
  agent.active && (agent.connected || agent.lastLeafNotAfter + marginSeconds >= now);

/**
 * A consumer that has left, or that its agent's new session does not know, counts no longer than its
 * certificate.
 */
export const consumerCounts = (
  consumer: ConsumerRecord,
  now: number,
  marginSeconds: number,
): boolean => {
  const until = certificateEnd(consumer);
  return until === undefined || until + marginSeconds >= now;
};

const certificateEnd = ({ lostUntil, departedUntil }: ConsumerRecord): number | undefined =>
  lostUntil ?? departedUntil;

/** What a confirmation is counted from. */
export interface ConfirmationInput {
  readonly world: RotationWorld;
  readonly policy: RotationPolicy;
  readonly now: number;
}

/**
 * Who holds an authority that was published. Pure.
 * - A root or JWT key is held by whoever reports a set with it: the agent, and each of its
 *   consumers that takes such a set.
 * - An issuing authority is held by an agent that verified its chain under the roots of its
 *   consumers.
 * Others are inferred from the expiry of what they were given before publication, or, where nobody
 * sees them, from time.
 * @param authority in state `published` (or later)
 * @param rootId the root above an issuing authority
 */
export function confirmation(
  authority: Authority,
  rootId: string | undefined,
  { world, policy, now }: ConfirmationInput,
): Confirmation {
  const counted = new Map(
    world.agents
      .filter((agent) => agentCounts(agent, now, policy.retireMarginSeconds))
      .map((agent) => [agent.id, agent]),
  );
  const laggards: Laggard[] = [];
  let needed = 0;
  const reported = new Set<string>();
  for (const consumer of world.consumers) {
    const agent = counted.get(consumer.agentId);
    if (agent === undefined || !consumerCounts(consumer, now, policy.retireMarginSeconds)) continue;
    const isAgent = consumer.kind === 'agent';
    if (isAgent) reported.add(agent.id);
    const held = holding(authority, rootId, consumer, world.sets);
    if (held === 'not needed') continue;
    needed += 1;
    if (held === 'missing') laggards.push(laggardOf(authority, consumer, agent, world.sets));
  }
  for (const agent of counted.values()) {
    if (reported.has(agent.id)) continue;
    needed += 1;
    laggards.push(silentAgent(agent));
  }
  const unheld = authority.kind === 'root' ? world.unheld.get(authority.id) : undefined;
  const unseen =
    authority.kind === 'root' || authority.kind === 'jwt'
      ? policy.unseenSeconds[authority.kind]
      : 0;
  return {
    proven: { needed, confirmed: needed - laggards.length, laggards },
    inferred: {
      needed: unheld?.total ?? 0,
      confirmed: (unheld?.total ?? 0) - (unheld?.waiting ?? 0),
      until: unheld?.until ?? 0,
    },
    unprovable: { until: unseen === 0 ? 0 : (authority.publishedAt ?? now) + unseen },
    ...((world.alteredAgents ?? 0) === 0 ? {} : { alteredAgents: world.alteredAgents }),
  };
}

export function isConfirmed(found: Confirmation, shares: Shares, now: number): boolean {
  const enough = (confirmed: number, needed: number, share: number): boolean =>
    confirmed >= Math.ceil(needed * share - 1e-9);
  return (
    (found.alteredAgents ?? 0) === 0 &&
    enough(found.proven.confirmed, found.proven.needed, shares.proven) &&
    enough(found.inferred.confirmed, found.inferred.needed, shares.inferred) &&
    (shares.unprovable === 0 || found.unprovable.until <= now)
  );
}

type Sets = RotationWorld['sets'];

/** What makes it held: the kind of set that was reported, and its digest. */
export interface Held {
  readonly of: RotatedKind;
  readonly digest: string;
}

export function holding(
  authority: Authority,
  rootId: string | undefined,
  consumer: ConsumerRecord,
  sets: Sets,
): Held | 'missing' | 'not needed' {
  // what no session has told this process may have been put into the database by anybody
  const has = (of: RotatedKind, digest: string, id: string): Held | 'missing' =>
    consumer.heardAt !== undefined &&
    consumer.state === 'confirmed' &&
    sets[of].get(digest)?.has(id) === true
      ? { of, digest }
      : 'missing';
  const isAgent = consumer.kind === 'agent';
  // a reader of JWT keys alone holds no roots, and needs none
  if (
    authority.kind !== 'jwt' &&
    !isAgent &&
    consumer.authoritySetDigest === '' &&
    consumer.jwtSetDigest !== ''
  )
    return 'not needed';
  switch (authority.kind) {
    case 'root':
      return has('root', consumer.authoritySetDigest, authority.id);
    case 'jwt':
      if (consumer.jwtSetDigest === '' && !isAgent) return 'not needed';
      return has('jwt', consumer.jwtSetDigest, authority.id);
    default:
      if (consumer.issuerSetDigest === '' && !isAgent)
        return rootId === undefined ? 'missing' : has('root', consumer.authoritySetDigest, rootId);
      return has('issuing', consumer.issuerSetDigest, authority.id);
  }
}

/** It has reported nothing. */
export const silentAgent = (agent: AgentFacts): Laggard => ({
  agentId: agent.id,
  consumerId: '',
  kind: 'agent',
  spiffeId: agent.id,
  description: '',
  state: agent.connected ? 'silent' : 'absent',
  reason: '',
  lastSeenAt: agent.lastSeenAt,
  holds: [],
  until: agent.lastLeafNotAfter,
});

const digestOf = {
  root: 'authoritySetDigest',
  jwt: 'jwtSetDigest',
  issuing: 'issuerSetDigest',
} as const;

export function laggardOf(
  authority: Authority,
  consumer: ConsumerRecord,
  agent: AgentFacts,
  sets: Sets,
): Laggard {
  const kind: RotatedKind = isRotated(authority.kind) ? authority.kind : 'issuing';
  const holds = sets[kind].get(consumer[digestOf[kind]]);
  return {
    agentId: agent.id,
    consumerId: consumer.kind === 'agent' ? '' : consumer.id,
    kind: consumer.kind,
    spiffeId: consumer.spiffeId,
    description: consumer.description,
    state: laggardState(consumer, agent),
    reason: consumer.reason,
    lastSeenAt: agent.lastSeenAt,
    // one that was offered this authority and nothing before is not known to hold anything
    holds:
      holds !== undefined && (consumer.state === 'confirmed' || !holds.has(authority.id))
        ? [...holds]
        : [],
    until: certificateEnd(consumer) ?? agent.lastLeafNotAfter,
  };
}

function laggardState(consumer: ConsumerRecord, { connected }: AgentFacts): Laggard['state'] {
  if (!connected) return 'absent';
  if (consumer.lostUntil !== undefined) return 'lost';
  if (consumer.heardAt === undefined) return 'silent';
  if (consumer.departedUntil !== undefined) return 'departed';
  return consumer.state === 'confirmed' ? 'behind' : consumer.state;
}
