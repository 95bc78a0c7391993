import { PkiError } from '../../common/errors/index.ts';
import {
  confirmation,
  isCross,
  isNamesAuthority,
  isRootKind,
  isRotated,
  isTrusted,
  type AgentFacts,
  type AlteredRow,
  type Authority,
  type AuthorityFacts,
  type Confirmation,
  type ConfirmationInput,
  type NodeHandshakes,
  type RenewalFacts,
  type RotationOperation,
  type RotationPolicy,
  type RotationWorld,
} from '../../domain/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { Ledger } from '../../ledger/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { HeldSets } from './held-sets.ts';

export interface ObserverDependencies {
  readonly store: Pick<Ledger, 'rotations' | 'agents' | 'objects' | 'approvals' | 'watchers'>;
  readonly sets: HeldSets;
  /** Whether an agent has a sync session, or a control plane watches, with any replica. */
  readonly connected: (agentId: string) => boolean;
  /** Handshakes that each connected node made with peers under this key ID (hex). */
  readonly handshakes: (subjectKeyId: string) => readonly NodeHandshakes[];
  /** The requests to an authority since it was first observed. */
  readonly renewals: (authorityId: string) => RenewalFacts;
  readonly policy: RotationPolicy;
  readonly clock: Clock;
}

/** Everything that a decision rests on, at one instant. */
export interface Observation {
  readonly now: number;
  readonly facts: readonly AuthorityFacts[];
  readonly operations: readonly RotationOperation[];
  /** Authorities and operations that exist, by the log, and that their rows do not show. */
  readonly altered: readonly AlteredRow[];
  readonly confirmations: ReadonlyMap<string, Confirmation>;
  readonly handshakes: ReadonlyMap<string, readonly NodeHandshakes[]>;
  readonly renewals: ReadonlyMap<string, RenewalFacts>;
  /** An operator needs the approval of others; also while the log does not vouch for the policy. */
  readonly dualControl: boolean;
  /** The facts behind the confirmations. Absent if nothing waits for confirmations. */
  readonly world: RotationWorld | undefined;
}

export async function observe(dependencies: ObserverDependencies): Promise<Observation> {
  const { store, clock, policy, sets } = dependencies;
  const now = clock.now();
  const margin = policy.retireMarginSeconds;
  const { authorities: all, operations, altered } = await store.rotations.standing();
  await sets.refresh(all, (revision) => store.objects.prove('bundle', revision) !== undefined);
  const signed = await store.rotations.signedBy(now, margin);
  const facts = all
    .filter(({ kind }) => isRotated(kind))
    .map((authority) => factsOf(authority, all, signed));
  const watched = watchedOf(all);
  const world =
    watched.length === 0 ? undefined : await worldOf(watched, dependencies, now, margin);
  const confirmations =
    world === undefined
      ? new Map<string, Confirmation>()
      : confirmationsOf(watched, all, { world, policy, now }, sets);
  const partial = all.filter(
    ({ kind, state, scope }) =>
      kind === 'issuing' && state === 'active' && Object.keys(scope).length > 0,
  );
  const { renewals } = dependencies;
  return {
    now,
    facts,
    operations,
    altered,
    confirmations,
    world,
    renewals: new Map(partial.map(({ id }) => [id, renewals(id)])),
    dualControl: await needsApproval(store),
    handshakes: await handshakesOf(partial, dependencies),
  };
}

async function needsApproval({ approvals }: Pick<Ledger, 'approvals'>): Promise<boolean> {
  try {
    return (await approvals.policy()).policy.enabled;
  } catch (thrown) {
    if (PkiError.from(thrown).code === 'OBJECT_NOT_IN_LOG') return true;
    throw thrown;
  }
}

/**
 * Handshakes that active agents report. Banned agents, and agents that the log does not vouch for,
 * do not count.
 */
async function handshakesOf(
  partial: readonly Authority[],
  { store, handshakes }: ObserverDependencies,
): Promise<Observation['handshakes']> {
  const standing = new Set<string>();
  if (partial.length > 0) {
    for await (const agents of pagesOf((page) => store.agents.list({ state: 'active' }, page)))
      for (const agent of agents)
        if (store.objects.prove('agent', agent) !== undefined) standing.add(agent.spiffeId);
  }
  return new Map(
    partial.map(({ id, subjectKeyId }) => [
      id,
      handshakes(subjectKeyId ?? '').filter(({ agentId }) => standing.has(agentId)),
    ]),
  );
}

/**
 * The authorities that wait for confirmations. A root that signs without everybody's confirmation
 * is watched further, as long as another root exists to fall back to.
 */
function watchedOf(all: readonly Authority[]): readonly Authority[] {
  const trustedRoots = all.filter(({ kind, state }) => kind === 'root' && isTrusted(state)).length;
  return all.filter(
    (authority) =>
      isRotated(authority.kind) &&
      !isCross(authority, all) &&
      (authority.state === 'published' ||
        (authority.kind === 'root' && authority.state === 'active' && trustedRoots > 1)),
  );
}

/** Confirmations of the authorities that are in a bundle. Nobody can confirm the others. */
function confirmationsOf(
  watched: readonly Authority[],
  all: readonly Authority[],
  input: ConfirmationInput,
  sets: HeldSets,
): ReadonlyMap<string, Confirmation> {
  const confirmations = new Map<string, Confirmation>();
  for (const authority of watched) {
    const { id, kind, publishedAt } = authority;
    const since =
      kind === 'issuing' || isNamesAuthority(kind)
        ? (publishedAt ?? undefined)
        : sets.inBundleSince(id);
    if (since === undefined) continue;
    const watchedAuthority = { ...authority, publishedAt: Math.max(since, publishedAt ?? 0) };
    confirmations.set(id, confirmation(watchedAuthority, rootOf(authority, all)?.id, input));
  }
  return confirmations;
}

type Signed = Awaited<ReturnType<Ledger['rotations']['signedBy']>>;

/** The signatures of a root include those of the authorities below it. */
function factsOf(authority: Authority, all: readonly Authority[], signed: Signed): AuthorityFacts {
  let lastExpiry = 0;
  let live = 0;
  let liveUnreported = 0;
  for (const id of belowOf(authority.id, all)) {
    const facts = signed.get(id);
    lastExpiry = Math.max(lastExpiry, facts?.lastExpiry ?? 0);
    live += facts?.live ?? 0;
    liveUnreported += facts?.liveUnreported ?? 0;
  }
  return { authority, lastExpiry, live, liveUnreported };
}

/** An authority and all below it, by ID. */
export const belowOf = (id: string, all: readonly Authority[]): readonly string[] => [
  id,
  ...all.filter(({ parentId }) => parentId === id).flatMap((child) => belowOf(child.id, all)),
];

export function rootOf(authority: Authority, all: readonly Authority[]): Authority | undefined {
  let at: Authority | undefined = authority;
  while (at !== undefined && !isRootKind(at.kind)) at = all.find(({ id }) => id === at?.parentId);
  return at;
}

async function worldOf(
  published: readonly Authority[],
  { store, sets, connected }: ObserverDependencies,
  now: number,
  margin: number,
): Promise<RotationWorld> {
  const lastByHolder = await store.rotations.lastNotAfterByHolder(now - margin);
  const agents: AgentFacts[] = [];
  let stand = 0;
  // Read all agents. Otherwise an agent that was banned or removed past the server would no longer
  // count.
  for await (const agentPage of pagesOf((page) => store.agents.list({}, page))) {
    for (const agent of agentPage) {
      if (store.objects.prove('agent', agent) !== undefined) stand += 1;
      agents.push({
        id: agent.spiffeId,
        kind: 'agent',
        active: agent.state === 'active',
        connected: connected(agent.spiffeId),
        lastSeenAt: agent.lastSeenAt,
        lastLeafNotAfter: Math.max(agent.svidNotAfter, lastByHolder.get(agent.spiffeId) ?? 0),
      });
    }
  }
  for (const [id, watchedUntil] of store.watchers.known())
    agents.push({
      id,
      kind: 'control-plane',
      active: true,
      connected: connected(id),
      lastSeenAt: store.watchers.lastSeenAt(id),
      lastLeafNotAfter: Math.max(watchedUntil, lastByHolder.get(id) ?? 0),
    });
  const named = store.watchers.namingAllHolders();
  const unheld = new Map<string, Awaited<ReturnType<Ledger['rotations']['unheld']>>>();
  for (const authority of published) {
    if (authority.kind === 'root')
      unheld.set(
        authority.id,
        await store.rotations.unheld(sets.inBundleSince(authority.id) ?? now, now - margin, named),
      );
  }
  return {
    agents,
    consumers: [...(await store.rotations.consumers()), ...store.watchers.consumers()],
    unheld,
    sets: sets.sets(),
    alteredAgents: Math.max(0, store.objects.expectedCount('agent') - stand),
  };
}
