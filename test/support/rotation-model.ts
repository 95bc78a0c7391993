import { createHash } from 'node:crypto';
import {
  Attempts,
  confirmation,
  decide,
  isTrusted,
  isLegalTransition,
  type Authority,
  type AuthorityFacts,
  type AuthorityState,
  type Confirmation,
  type ConsumerRecord,
  type Decision,
  type DecisionInput,
  type RotatedKind,
  type RotationAction,
  type RotationOperation,
  type RotationPolicy,
  type RotationWorld,
} from '../../src/domain/index.ts';
import { seeded } from './seeded.ts';

/**
 * A world in miniature around the pure decision: agents with consumers that read late, die or
 * sleep; holders that report nothing; a wall clock that jumps; a server that stops between any two
 * steps; operators that rotate, force, taint and withdraw at random. It knows what is really held
 * and really valid, and says when a promise broke.
 */
export interface ModelOptions {
  readonly seed: number;
  readonly steps: number;
  /** Alters what the decision is told or what it answers: to show that the model notices. */
  readonly mutate?: {
    readonly input?: (input: DecisionInput) => DecisionInput;
    readonly world?: (world: RotationWorld) => RotationWorld;
  };
}

export interface ModelResult {
  readonly broken: readonly string[];
  readonly activations: number;
  readonly retired: number;
  readonly crashes: number;
  /** Actions that failed, and those that were done while one before them had failed. */
  readonly failures: number;
  readonly passed: number;
}

const ttl = 600;
const tolerance = 30;
const policy: RotationPolicy = {
  longestLeafSeconds: ttl,
  longestJwtSeconds: 300,
  canaryLyingShare: 0.25,
  issuingLifeSeconds: 6_000,
  marginSeconds: 120,
  retireMarginSeconds: 2 * tolerance + 1,
  names: { longestLeafSeconds: ttl, issuingLifeSeconds: 6_000 },
  unseenSeconds: { root: 200, jwt: 400, 'names-root': 300 },
  prepareAtLifeFraction: 0.5,
  onDeadline: 'alert',
  imported: [],
};
const lives: Readonly<Record<RotatedKind, number>> = {
  root: 20_000,
  issuing: 6_000,
  jwt: 6_000,
  'names-root': 20_000,
  'names-issuing': 6_000,
};

interface Leaf {
  readonly authorityId: string;
  /** Undefined: its holder reports nothing. */
  readonly agentId: string | undefined;
  readonly givenAt: number;
  readonly notAfter: number;
  /** Its holder has, and presents, a newer one; `reported`: and has said so. */
  replaced: boolean;
  reported: boolean;
}
interface Holder {
  readonly id: string;
  readonly kind: string;
  readonly takesJwt: boolean;
  roots: ReadonlySet<string>;
  jwt: ReadonlySet<string>;
  issuers: ReadonlySet<string>;
  frozen: boolean;
}
interface Node {
  readonly id: string;
  connected: boolean;
  consumers: Holder[];
  reported: ConsumerRecord[];
  lastSeenAt: number;
}

// oxlint-disable-next-line test-sizes/function-lines -- the model is one state and its moves
export function playHistory({ seed, steps, mutate }: ModelOptions): ModelResult {
  const random = seeded(seed);
  const chance = (p: number): boolean => random() < p;
  const pick = <T>(items: readonly T[]): T | undefined =>
    items[Math.floor(random() * items.length)];
  const within = (low: number, high: number): number =>
    Math.floor(low + random() * (high - low + 1));
  let time = 1_000_000;
  let offset = 0;
  let ids = 0;
  let crashes = 0;
  let activations = 0;
  let retired = 0;
  let failures = 0;
  let passed = 0;
  const attempts = new Attempts<string>({ firstMs: 500, longestMs: 600_000, standbyMs: 30_000 });
  const wall = (): number => time + offset;
  const broken: string[] = [];
  const authorities: Authority[] = [];
  let operations: RotationOperation[] = [];
  const leaves: Leaf[] = [];
  const jwtExpiry = new Map<string, number>();
  const truePublishedAt = new Map<string, number>();
  const unproven = new Set<string>();
  const sets = {
    root: new Map<string, ReadonlySet<string>>(),
    jwt: new Map<string, ReadonlySet<string>>(),
    issuing: new Map<string, ReadonlySet<string>>(),
  };
  const nodes: Node[] = [];

  const byId = (id: string | null): Authority | undefined =>
    authorities.find((each) => each.id === id);
  const newId = (what: string): string => `${what}-${(ids += 1)}`;
  const trusted = (kind: RotatedKind): Set<string> =>
    new Set(
      authorities.filter((each) => each.kind === kind && isTrusted(each.state)).map(({ id }) => id),
    );
  const move = (id: string, to: AuthorityState, extra: Partial<Authority> = {}): void => {
    const index = authorities.findIndex((each) => each.id === id);
    const from = authorities[index] as Authority;
    if (!isLegalTransition(from.state, to)) {
      broken.push(`illegal transition of ${id} from ${from.state} to ${to}`);
      return;
    }
    authorities[index] = {
      ...from,
      ...extra,
      state: to,
      version: from.version + 1,
      ...(to === 'published' ? { publishedAt: wall() } : {}),
      ...(to === 'active' ? { activatedAt: wall() } : {}),
      ...(to === 'tainted' ? { taintedAt: wall() } : {}),
    };
    if (to === 'published') truePublishedAt.set(id, time);
  };
  const make = (
    id: string,
    kind: RotatedKind,
    state: AuthorityState,
    parentId: string | null,
  ): void => {
    const parent = byId(parentId);
    authorities.push({
      id,
      kind,
      state,
      version: 0,
      keyType: 'ec-p256',
      token: kind === 'root' ? 'root' : 'issuing',
      ckaId: id,
      parentId,
      scope: {},
      spkiDer: null,
      certificateDer: null,
      subjectKeyId: null,
      notBefore: wall(),
      notAfter: Math.min(wall() + lives[kind], parent?.notAfter ?? Number.MAX_SAFE_INTEGER),
      createdAt: wall(),
      activatedAt: state === 'active' ? wall() : null,
      taintedAt: null,
    });
  };
  make('root-0', 'root', 'active', null);
  make('issuing-0', 'issuing', 'active', 'root-0');
  make('jwt-0', 'jwt', 'active', null);

  const learn = (holder: Holder): void => {
    holder.roots = trusted('root');
    holder.jwt = holder.takesJwt ? trusted('jwt') : new Set();
    holder.issuers = new Set(
      authorities
        .filter(
          (each) =>
            each.kind === 'issuing' &&
            (each.state === 'published' || each.state === 'active') &&
            holder.roots.has(each.parentId ?? ''),
        )
        .map(({ id }) => id),
    );
  };
  const remember = (index: Map<string, ReadonlySet<string>>, held: ReadonlySet<string>): string => {
    const digest = createHash('sha256')
      .update([...held].sort().join())
      .digest('hex');
    index.set(digest, held);
    return digest;
  };
  const record = (node: Node, holder: Holder): ConsumerRecord => ({
    agentId: node.id,
    id: holder.id,
    kind: holder.kind,
    spiffeId: '',
    state: 'confirmed',
    reason: '',
    since: 0,
    heardAt: wall(),
    description: '',
    capabilities: [],
    authoritySetDigest: remember(sets.root, holder.roots),
    jwtSetDigest: holder.takesJwt ? remember(sets.jwt, holder.jwt) : '',
    issuerSetDigest: holder.kind === 'agent' ? remember(sets.issuing, holder.issuers) : '',
  });
  const addNode = (): void => {
    const node: Node = {
      id: newId('agent'),
      connected: true,
      consumers: [],
      reported: [],
      lastSeenAt: wall(),
    };
    const own: Holder = {
      id: newId('own'),
      kind: 'agent',
      takesJwt: true,
      roots: new Set(),
      jwt: new Set(),
      issuers: new Set(),
      frozen: false,
    };
    learn(own);
    node.consumers.push(own);
    nodes.push(node);
    issue(node.id);
  };
  const issue = (agentId: string | undefined): void => {
    const issuer = authorities
      .filter((each) => each.kind === 'issuing' && each.state === 'active')
      .at(-1);
    if (issuer === undefined || wall() + ttl > issuer.notAfter) return;
    if (agentId !== undefined)
      for (const leaf of leaves) if (leaf.agentId === agentId) leaf.replaced = true;
    leaves.push({
      authorityId: issuer.id,
      agentId,
      givenAt: wall(),
      notAfter: wall() + ttl,
      replaced: false,
      reported: false,
    });
    const key = authorities.filter((each) => each.kind === 'jwt' && each.state === 'active').at(-1);
    if (key !== undefined && wall() + 300 <= key.notAfter)
      jwtExpiry.set(key.id, Math.max(jwtExpiry.get(key.id) ?? 0, wall() + 300));
  };
  const signedBelow = (authority: Authority): readonly Leaf[] => {
    if (authority.kind === 'jwt') return [];
    const issuers =
      authority.kind === 'issuing'
        ? [authority.id]
        : authorities.filter((each) => each.parentId === authority.id).map(({ id }) => id);
    return leaves.filter((leaf) => issuers.includes(leaf.authorityId));
  };
  const lastExpiry = (authority: Authority): number =>
    authority.kind === 'jwt'
      ? (jwtExpiry.get(authority.id) ?? 0)
      : Math.max(0, ...signedBelow(authority).map(({ notAfter }) => notAfter));

  const observe = (): RotationWorld => {
    const world: RotationWorld = {
      agents: nodes.map((node) => ({
        id: node.id,
        kind: 'agent',
        active: true,
        connected: node.connected,
        lastSeenAt: node.lastSeenAt,
        lastLeafNotAfter: Math.max(
          0,
          ...leaves.filter((leaf) => leaf.agentId === node.id).map(({ notAfter }) => notAfter),
        ),
      })),
      consumers: nodes.flatMap(({ reported }) => reported),
      sets,
      unheld: new Map(
        authorities
          .filter(({ state }) => state === 'published')
          .map((authority) => {
            const all = leaves.filter(
              (leaf) =>
                leaf.agentId === undefined && leaf.notAfter + policy.retireMarginSeconds >= wall(),
            );
            const waiting = all.filter(({ givenAt }) => givenAt <= (authority.publishedAt ?? 0));
            return [
              authority.id,
              {
                total: all.length,
                waiting: waiting.length,
                until: Math.max(0, ...waiting.map(({ notAfter }) => notAfter)),
                holders: [],
              },
            ];
          }),
      ),
    };
    return mutate?.world?.(world) ?? world;
  };
  const decideNow = (): Decision => {
    const world = observe();
    const facts: AuthorityFacts[] = authorities.map((authority) => ({
      authority,
      lastExpiry: lastExpiry(authority),
      live: signedBelow(authority).filter(
        (leaf) => leaf.notAfter + policy.retireMarginSeconds >= wall() && !leaf.reported,
      ).length,
      liveUnreported: 0,
    }));
    const confirmations = new Map<string, Confirmation>(
      authorities
        .filter(({ state }) => state === 'published')
        .map((authority) => [
          authority.id,
          confirmation(authority, authority.parentId ?? undefined, { world, policy, now: wall() }),
        ]),
    );
    const input: DecisionInput = {
      authorities: facts,
      confirmations,
      operations: operations.filter(({ state }) => state === 'running' || state === 'paused'),
      handshakes: new Map(),
      policy,
      now: wall(),
      clock: Math.abs(offset) > tolerance ? 'jumped' : 'believed',
      dualControl: false,
    };
    return decide(mutate?.input?.(input) ?? input);
  };

  // ── the promises, judged by what is really so ──
  const checkActivation = (authority: Authority, without: string): void => {
    activations += 1;
    if (without !== 'proven') {
      unproven.add(authority.id);
      return;
    }
    for (const node of nodes) {
      const mayReturn = leaves.some((leaf) => leaf.agentId === node.id && leaf.notAfter >= time);
      if (!node.connected && !mayReturn) continue;
      for (const holder of node.consumers) {
        const held =
          authority.kind === 'jwt'
            ? !holder.takesJwt || holder.jwt.has(authority.id)
            : holder.roots.has(
                authority.kind === 'root' ? authority.id : (authority.parentId ?? ''),
              );
        if (!held)
          broken.push(
            `promise 4: ${authority.id} signs, ${holder.id} of ${node.id} does not hold it`,
          );
      }
    }
    const since = truePublishedAt.get(authority.id) ?? 0;
    if (
      authority.kind === 'root' &&
      leaves.some(
        (leaf) =>
          leaf.agentId === undefined &&
          leaf.givenAt < (authority.publishedAt ?? 0) - 2 * tolerance &&
          leaf.notAfter >= time,
      )
    )
      broken.push(
        `promise 4: ${authority.id} signs, an unseen holder still has what it was given before`,
      );
    if (
      authority.kind !== 'issuing' &&
      time - since < policy.unseenSeconds[authority.kind as 'root' | 'jwt'] - 2 * tolerance
    )
      broken.push(`promise 4: ${authority.id} signs ${time - since} s after it was published`);
  };
  const checkEnd = (authority: Authority): void => {
    retired += 1;
    // what was given by a clock that was wrong is valid by that clock for its holder
    if (
      signedBelow(authority).some(
        (leaf) => leaf.notAfter >= time && !(authority.state === 'tainted' && leaf.replaced),
      ) ||
      (authority.kind === 'jwt' && lastExpiry(authority) >= time)
    )
      broken.push(`promise 5: ${authority.id} left while a leaf of it is valid`);
    if (
      authority.kind === 'root' &&
      authorities.some((child) => child.parentId === authority.id && isTrusted(child.state))
    )
      broken.push(`promise 5: ${authority.id} left before what stands below it`);
  };
  const end = ({ id }: RotationOperation, state: 'done' | 'cancelled'): void => {
    operations = operations.map((each) => (each.id === id ? { ...each, state } : each));
  };
  const cancel = (operation: RotationOperation): void => {
    const { spec } = operation;
    const successor = byId(spec.successorId);
    const parent = byId(successor?.parentId ?? spec.parentId);
    if (parent === undefined || parent.notAfter > wall())
      broken.push('an operation is cancelled whose root has not ended');
    end(operation, 'cancelled');
    if (successor !== undefined) move(successor.id, 'discarded');
  };

  const execute = (action: RotationAction): void => {
    switch (action.type) {
      case 'open':
        operations.push(
          operation(action.kind, action.targets, {
            parentId: action.parentId,
            trigger: action.trigger,
            ...(action.force === undefined ? {} : { force: action.force }),
          }),
        );
        break;
      case 'prepare': {
        const { kind, spec } = action.operation;
        const parent =
          kind === 'issuing'
            ? (byId(spec.parentId) ??
              authorities.filter((each) => each.kind === 'root' && each.state === 'active').at(-1))
            : undefined;
        if (byId(spec.successorId) === undefined)
          make(spec.successorId, kind, 'preparing', parent?.id ?? null);
        if (chance(0.1)) throw new Crash();
        move(spec.successorId, 'prepared');
        break;
      }
      case 'publish':
        move(action.authority.id, 'published');
        break;
      case 'activate':
        checkActivation(byId(action.authority.id) as Authority, action.without.kind);
        move(action.authority.id, 'active', { scope: action.scope });
        break;
      case 'widen':
        break;
      case 'supersede':
        move(action.authority.id, 'old');
        break;
      case 'taint':
        move(action.authority.id, 'tainted');
        break;
      case 'retire':
      case 'revoke':
        checkEnd(action.authority);
        move(action.authority.id, action.type === 'retire' ? 'retired' : 'revoked');
        break;
      case 'finish':
        end(action.operation, 'done');
        break;
      case 'cancel':
        cancel(action.operation);
        break;
      // this world has no standby token, no cross-certificates and no names
      case 'cross':
      case 'standby':
      case 'drop':
        broken.push(`${action.type} is decided where nothing asks for it`);
        break;
    }
  };
  const operation = (
    kind: RotatedKind,
    targets: readonly string[],
    over: Partial<RotationOperation['spec']>,
  ): RotationOperation => ({
    id: newId('op'),
    kind,
    state: 'running',
    version: 0,
    createdBy: 'x',
    createdAt: wall(),
    updatedAt: wall(),
    spec: {
      successorId: newId(kind),
      targets,
      targetsBecome: 'old',
      parentId: null,
      trigger: 'operator',
      shares: { proven: 1, inferred: 1, unprovable: 1 },
      ...over,
    },
  });

  const events: readonly (() => void)[] = [
    () => void (time += within(1, 90)),
    () => void (time += within(60, 900)),
    () => void (time += within(60, 900)),
    () =>
      void (offset = chance(0.5)
        ? 0
        : chance(0.5)
          ? within(-tolerance, tolerance)
          : within(-5_000, 50_000)),
    () => {
      if (nodes.length < 4) addNode();
    },
    () => {
      const node = pick(nodes);
      if (node?.connected === true && node.consumers.length < 4) {
        const holder: Holder = {
          id: newId('stream'),
          kind: 'workload-stream',
          takesJwt: chance(0.3),
          roots: new Set(),
          jwt: new Set(),
          issuers: new Set(),
          frozen: false,
        };
        learn(holder);
        node.consumers.push(holder);
        node.reported.push(record(node, holder));
      }
    },
    ...repeat(4, () => {
      const node = pick(nodes);
      if (node?.connected === true)
        for (const holder of node.consumers) if (!holder.frozen && chance(0.8)) learn(holder);
    }),
    ...repeat(4, () => {
      const node = pick(nodes);
      if (node?.connected === true) {
        node.reported = node.consumers.map((holder) => record(node, holder));
        node.lastSeenAt = wall();
        for (const leaf of leaves)
          if (leaf.agentId === node.id && leaf.replaced) leaf.reported = true;
      }
    }),
    () => {
      const holder = pick(nodes.flatMap(({ consumers }) => consumers));
      if (holder !== undefined) holder.frozen = !holder.frozen;
    },
    () => {
      const node = pick(nodes);
      if (node !== undefined) node.connected = false;
    },
    () => {
      const node = pick(nodes);
      if (node !== undefined) node.connected = true;
    },
    ...repeat(3, () => {
      const node = pick(nodes);
      if (node?.connected === true) issue(node.id);
    }),
    () => issue(undefined),
    () => {
      const node = pick(nodes);
      const last = node?.consumers.at(-1);
      if (node?.connected === true && last !== undefined && last.kind !== 'agent') {
        node.consumers.pop();
        node.reported = node.reported.filter(({ id }) => id !== last.id);
      }
    },
    () => {
      const kind = pick(['root', 'issuing', 'jwt'] as const) as RotatedKind;
      const targets = authorities
        .filter((each) => each.kind === kind && each.state === 'active')
        .map(({ id }) => id);
      if (
        targets.length > 0 &&
        !operations.some((each) => each.kind === kind && each.state === 'running')
      ) {
        operations.push(
          operation(kind, targets, {
            ...(chance(0.1) ? { force: { by: 'x', reason: 'y' } } : {}),
            ...(chance(0.2) ? { targetsBecome: 'tainted' } : {}),
          }),
        );
      }
    },
    () => {
      const published = authorities.find(({ state }) => state === 'published');
      if (published !== undefined && chance(0.3)) move(published.id, 'withdrawn');
    },
    () => {
      crashes += 1;
      sets.issuing.clear();
      for (const node of nodes)
        node.reported = node.connected
          ? node.consumers.map((holder) => record(node, holder))
          : node.reported.map(unheard);
    },
  ];

  addNode();
  for (let step = 0; step < steps && broken.length === 0; step += 1) {
    pick(events)?.();
    try {
      // each action is decided on what the one before left, as the controller does
      for (let round = 0; round < 6; round += 1) {
        const { actions } = decideNow();
        const action = attempts.due(actions, time * 1000);
        if (action === undefined) break;
        if (chance(0.08)) {
          failures += 1;
          attempts.failed(action, action.type, { ms: time * 1000, uniform: random() });
          continue;
        }
        execute(action);
        attempts.succeeded(action);
        if (action !== actions[0]) passed += 1;
        if (chance(0.05)) throw new Crash();
      }
    } catch (thrown) {
      if (!(thrown instanceof Crash)) throw thrown;
      crashes += 1;
    }
  }
  return { broken, activations, retired, crashes, failures, passed };
}

class Crash extends Error {}

/** What is left of a report when the server that heard it is gone. */
function unheard({ heardAt, ...row }: ConsumerRecord): ConsumerRecord {
  return heardAt === undefined ? row : { ...row };
}

const repeat = <T>(count: number, item: T): readonly T[] =>
  Array.from({ length: count }, () => item);
