import {
  confirmation,
  isCross,
  isRotated,
  isTrusted,
  type AgentFacts,
  type Authority,
  type AuthorityFacts,
  type Confirmation,
  type NodeHandshakes,
  type RenewalFacts,
  type RotationOperation,
  type RotationPolicy,
  type RotationWorld,
  type LoggedValues,
  type Proven,
} from '../../domain/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { Ledger } from '../../ledger/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { HeldSets } from './held-sets.ts';

export interface ObserverDependencies {
  readonly store: Pick<Ledger, 'authorities' | 'rotations' | 'agents' | 'objects'>;
  readonly sets: HeldSets;
  /** Whether an agent has a sync session with any replica. */
  readonly connected: (agentId: string) => boolean;
  /** Handshakes of each connected node with peers under this key ID (hex). */
  readonly handshakes: (subjectKeyId: string) => readonly NodeHandshakes[];
  /** What was asked of an authority since it was first looked at so. */
  readonly renewals: (authorityId: string) => RenewalFacts;
  readonly policy: RotationPolicy;
  readonly clock: Clock;
}

/** All that a decision rests on, as it is now. */
export interface Observation {
  readonly now: number;
  readonly facts: readonly AuthorityFacts[];
  readonly operations: readonly RotationOperation[];
  /** Operations and authorities that the log does not vouch for: they count as absent. */
  readonly unproven: readonly string[];
  readonly confirmations: ReadonlyMap<string, Confirmation>;
  readonly handshakes: ReadonlyMap<string, readonly NodeHandshakes[]>;
  readonly renewals: ReadonlyMap<string, RenewalFacts>;
  /** What the confirmations are counted from; absent where nothing waits for any. */
  readonly world: RotationWorld | undefined;
}

export async function observe(dependencies: ObserverDependencies): Promise<Observation> {
  const { store, clock, policy, sets } = dependencies;
  const now = clock.now();
  const margin = policy.retireMarginSeconds;
  const unproven: string[] = [];
  const proven = <Kind extends 'authority' | 'rotation'>(
    kind: Kind,
    items: readonly LoggedValues[Kind][],
  ): readonly Proven<LoggedValues[Kind]>[] =>
    items.flatMap((item) => {
      const stands = store.objects.prove(kind, item);
      if (stands === undefined) unproven.push(item.id);
      return stands ?? [];
    });
  const all = proven('authority', await store.authorities.list());
  const operations = proven('rotation', await store.rotations.list({ underWay: true }));
  await sets.refresh(all, (revision) => store.objects.prove('bundle', revision) !== undefined);
  const signed = await store.rotations.signedBy(now, margin);
  const facts = all
    .filter(({ kind }) => isRotated(kind))
    .map((authority) => factsOf(authority, all, signed));
  // one that signs without everybody's confirmation is watched on, while there is another root to
  // fall back to
  const trustedRoots = all.filter(({ kind, state }) => kind === 'root' && isTrusted(state)).length;
  const published: readonly Authority[] = all.filter(
    (each) =>
      isRotated(each.kind) &&
      !isCross(each, all) &&
      (each.state === 'published' ||
        (each.kind === 'root' && each.state === 'active' && trustedRoots > 1)),
  );
  const confirmations = new Map<string, Confirmation>();
  let world: RotationWorld | undefined;
  if (published.length > 0) {
    world = await worldOf(published, dependencies, now, margin);
    for (const authority of published) {
      const since =
        authority.kind === 'issuing'
          ? (authority.publishedAt ?? undefined)
          : sets.inBundleSince(authority.id);
      // not in a bundle yet: there is nothing that anybody could confirm
      if (since !== undefined)
        confirmations.set(
          authority.id,
          confirmation(
            { ...authority, publishedAt: Math.max(since, authority.publishedAt ?? 0) },
            rootOf(authority, all)?.id,
            world,
            policy,
            now,
          ),
        );
    }
  }
  const partial = all.filter(
    ({ kind, state, scope }) =>
      kind === 'issuing' && state === 'active' && Object.keys(scope).length > 0,
  );
  const { renewals } = dependencies;
  return {
    now,
    facts,
    operations,
    unproven,
    confirmations,
    world,
    renewals: new Map(partial.map(({ id }) => [id, renewals(id)])),
    handshakes: await handshakesOf(partial, dependencies),
  };
}

/** What standing agents report: one that the log does not vouch for, or that was banned, is none. */
async function handshakesOf(
  partial: readonly Authority[],
  { store, handshakes }: ObserverDependencies,
): Promise<Observation['handshakes']> {
  const standing = new Set<string>();
  if (partial.length > 0) {
    for await (const found of pagesOf((page) => store.agents.list({ state: 'active' }, page)))
      for (const agent of found)
        if (store.objects.prove('agent', agent) !== undefined) standing.add(agent.spiffeId);
  }
  return new Map(
    partial.map(({ id, subjectKeyId }) => [
      id,
      handshakes(subjectKeyId ?? '').filter(({ agentId }) => standing.has(agentId)),
    ]),
  );
}

type Signed = Awaited<ReturnType<Ledger['rotations']['signedBy']>>;

/** What a root signed is what the authorities below it signed. */
function factsOf(authority: Authority, all: readonly Authority[], signed: Signed): AuthorityFacts {
  let lastExpiry = 0;
  let live = 0;
  let liveUnreported = 0;
  for (const id of below(authority.id, all)) {
    const facts = signed.get(id);
    lastExpiry = Math.max(lastExpiry, facts?.lastExpiry ?? 0);
    live += facts?.live ?? 0;
    liveUnreported += facts?.liveUnreported ?? 0;
  }
  return { authority, lastExpiry, live, liveUnreported };
}

const below = (id: string, all: readonly Authority[]): readonly string[] => [
  id,
  ...all.filter(({ parentId }) => parentId === id).flatMap((child) => below(child.id, all)),
];

export function rootOf(authority: Authority, all: readonly Authority[]): Authority | undefined {
  let at: Authority | undefined = authority;
  while (at !== undefined && at.kind !== 'root') at = all.find(({ id }) => id === at?.parentId);
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
  // all of them: one that was banned, or taken away, past the server would else count no more
  for await (const found of pagesOf((page) => store.agents.list({}, page))) {
    for (const agent of found) {
      if (store.objects.prove('agent', agent) !== undefined) stand += 1;
      agents.push({
        id: agent.spiffeId,
        active: agent.state === 'active',
        connected: connected(agent.spiffeId),
        lastSeenAt: agent.lastSeenAt,
        lastLeafNotAfter: Math.max(agent.svidNotAfter, lastByHolder.get(agent.spiffeId) ?? 0),
      });
    }
  }
  const unheld = new Map<string, Awaited<ReturnType<Ledger['rotations']['unheld']>>>();
  for (const authority of published) {
    if (authority.kind === 'root')
      unheld.set(
        authority.id,
        await store.rotations.unheld(sets.inBundleSince(authority.id) ?? now, now - margin),
      );
  }
  return {
    agents,
    consumers: await store.rotations.consumers(),
    unheld,
    sets: sets.sets(),
    alteredAgents: Math.max(0, store.objects.expectedCount('agent') - stand),
  };
}
