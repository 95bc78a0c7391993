import type { ConsumerRecord } from '../agent.ts';
import { isNamesAuthority, type Authority } from '../authority.ts';
import { unseenSeconds } from './schedule.ts';
import type {
  AgentFacts,
  ConfirmedKind,
  RotationPolicy,
  RotationWorld,
  UnheldFacts,
  UnheldHolder,
  Shares,
} from './types.ts';

/** A consumer that has not confirmed, by name. */
export interface Laggard {
  readonly agentId: string;
  /** Empty: the agent itself. */
  readonly consumerId: string;
  readonly kind: string;
  readonly spiffeId: string;
  readonly description: string;
  /**
   * `absent`: its agent is not connected. `silent`: it has reported nothing yet. `departed`: it
   * left with a certificate. `lost`: the new session of its agent does not report it.
   */
  readonly state: 'absent' | 'silent' | 'pending' | 'refused' | 'behind' | 'departed' | 'lost';
  readonly reason: string;
  readonly lastSeenAt: number;
  /** IDs of the authorities of this kind that it holds, as far as is known. */
  readonly holds: readonly string[];
  /**
   * It no longer counts after this instant. By then its own certificate (departed, lost), or
   * otherwise the last leaf of its agent, has expired.
   */
  readonly until: number;
}

/** The three classes, counted separately. */
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
    /** Who is waited for, the last to end first; of many only some. */
    readonly holders: readonly UnheldHolder[];
  };
  readonly unprovable: { /** 0: nothing to wait for. */ readonly until: number };
  /**
   * Agents whose rows differ from the log. While there are any, nothing counts as confirmed.
   * Default: 0.
   */
  readonly alteredAgents?: number;
}

/**
 * An agent counts while it is connected, or while it may come back with a valid credential, by a
 * clock that is `marginSeconds` slow.
 */
export const agentCounts = (agent: AgentFacts, now: number, marginSeconds: number): boolean =>
  agent.active && (agent.connected || agent.lastLeafNotAfter + marginSeconds >= now);

/**
 * A departed consumer, or one that its agent's new session does not report, counts no longer than
 * its certificate.
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

/**
 * What its agent knows of the roots of this consumer is inferred, not proven: a client of
 * CreateCertificate, which gets roots with its certificate.
 */
export const isInferred = ({ capabilities }: ConsumerRecord): boolean =>
  capabilities.includes('inferred');

/** The facts from which a confirmation is counted. */
export interface ConfirmationInput {
  readonly world: RotationWorld;
  readonly policy: RotationPolicy;
  readonly now: number;
}

/**
 * Counts who holds a published authority. Pure.
 * - A root or JWT key is held by whoever reports a set with it: the agent, and each of its
 *   consumers that takes such a set.
 * - An issuing authority is held by an agent that verified its chain under the roots of its
 *   consumers, and by a control plane that holds its root.
 *
 * - Whoever relies on certificates for names never reports: only time counts.
 *
 * Others are inferred from the expiry of what they were issued before the publication, or from what
 * their agent infers, or from time if nobody observes them.
 *
 * @param authority in state `published` (or later)
 * @param rootId the root above an issuing authority
 */
export function confirmation(
  authority: Authority,
  rootId: string | undefined,
  { world, policy, now }: ConfirmationInput,
): Confirmation {
  const unprovable = { until: unprovableUntil(authority, policy, now) };
  if (isNamesAuthority(authority.kind)) return { ...nobodyCounted, unprovable };
  const counted = new Map(
    world.agents
      .filter((agent) => agentCounts(agent, now, policy.retireMarginSeconds))
      .map((agent) => [agent.id, agent]),
  );
  const laggards: Laggard[] = [];
  const waiting: Laggard[] = [];
  let needed = 0;
  let inferred = 0;
  const reported = new Set<string>();
  for (const consumer of world.consumers) {
    const agent = counted.get(consumer.agentId);
    if (agent === undefined || !consumerCounts(consumer, now, policy.retireMarginSeconds)) continue;
    if (consumer.kind === agent.kind) reported.add(agent.id);
    const holdingState = holding(authority, rootId, consumer, world.sets);
    if (holdingState === 'not needed') continue;
    if (isInferred(consumer)) inferred += 1;
    else needed += 1;
    if (holdingState === 'missing')
      (isInferred(consumer) ? waiting : laggards).push(
        laggardOf(authority, consumer, agent, world.sets),
      );
  }
  for (const agent of counted.values()) {
    if (reported.has(agent.id)) continue;
    needed += 1;
    laggards.push(silentAgent(agent));
  }
  return {
    proven: { needed, confirmed: needed - laggards.length, laggards },
    inferred: inferredOf(
      authority.kind === 'root' ? world.unheld.get(authority.id) : undefined,
      waiting,
      inferred,
    ),
    unprovable,
    ...((world.alteredAgents ?? 0) === 0 ? {} : { alteredAgents: world.alteredAgents }),
  };
}

const nobodyCounted: Omit<Confirmation, 'unprovable'> = {
  proven: { needed: 0, confirmed: 0, laggards: [] },
  inferred: { needed: 0, confirmed: 0, until: 0, holders: [] },
};

/** When the time for readers that nobody observes is over; 0: there is nothing to wait for. */
export function unprovableUntil(
  { kind, publishedAt }: Pick<Authority, 'kind' | 'publishedAt'>,
  policy: Pick<RotationPolicy, 'unseenSeconds'>,
  now: number,
): number {
  const unseen = unseenSeconds(kind, policy);
  return unseen === 0 ? 0 : (publishedAt ?? now) + unseen;
}

const maximumHolders = 100;

/** Those who hold a certificate from before the publication, and `total` consumers beside them. */
function inferredOf(
  unheld: UnheldFacts | undefined,
  waiting: readonly Laggard[],
  total: number,
): Confirmation['inferred'] {
  const holders = [
    ...(unheld?.holders ?? []),
    ...waiting.map(({ spiffeId, agentId, description, until }) => ({
      holder: `${spiffeId} (${description}) on ${agentId}`,
      until,
    })),
  ].sort((one, other) => other.until - one.until);
  return {
    needed: (unheld?.total ?? 0) + total,
    confirmed: (unheld?.total ?? 0) - (unheld?.waiting ?? 0) + total - waiting.length,
    until: Math.max(unheld?.until ?? 0, holders[0]?.until ?? 0),
    holders: holders.slice(0, maximumHolders),
  };
}

export function isConfirmed(counted: Confirmation, shares: Shares, now: number): boolean {
  const enough = (confirmed: number, needed: number, share: number): boolean =>
    confirmed >= Math.ceil(needed * share - 1e-9);
  return (
    (counted.alteredAgents ?? 0) === 0 &&
    enough(counted.proven.confirmed, counted.proven.needed, shares.proven) &&
    enough(counted.inferred.confirmed, counted.inferred.needed, shares.inferred) &&
    (shares.unprovable === 0 || counted.unprovable.until <= now)
  );
}

type Sets = RotationWorld['sets'];

/** The proof of holding: the kind of the reported set, and its digest. */
export interface Held {
  readonly of: ConfirmedKind;
  readonly digest: string;
}

export function holding(
  authority: Authority,
  rootId: string | undefined,
  consumer: ConsumerRecord,
  sets: Sets,
): Held | 'missing' | 'not needed' {
  // a consumer row that no session reported to this process may be forged
  const has = (of: ConfirmedKind, digest: string, id: string): Held | 'missing' =>
    consumer.heardAt !== undefined &&
    consumer.state === 'confirmed' &&
    sets[of].get(digest)?.has(id) === true
      ? { of, digest }
      : 'missing';
  const isAgent = consumer.kind === 'agent';
  // a reader of JWT keys only holds no roots and needs none; a control plane always needs them, to
  // verify the server
  if (
    authority.kind !== 'jwt' &&
    !isAgent &&
    consumer.kind !== 'control-plane' &&
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

/** An agent or control plane that has reported nothing. */
export const silentAgent = (agent: AgentFacts): Laggard => ({
  agentId: agent.id,
  consumerId: '',
  kind: agent.kind,
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
  const kind: ConfirmedKind =
    authority.kind === 'root' || authority.kind === 'jwt' ? authority.kind : 'issuing';
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
    // a consumer that was offered only this authority is not known to hold anything
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
