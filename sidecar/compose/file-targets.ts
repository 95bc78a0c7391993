import { PkiError, unwrap, type Result } from '../../src/common/errors/index.ts';
import type { ErrorCode } from '../../src/common/errors/index.ts';
import { effectiveUser } from '../../src/common/unix/effective-user.ts';
import type { KeyType } from '../../src/common/x509/index.ts';
import { Delivery, type DeliveryEvents } from '../files/delivery.ts';
import { DeliveryConsumer } from '../files/delivery-consumer.ts';
import { FileDeliveryJournal } from '../files/delivery-journal.ts';
import { crlsDigest, DeliveryLease } from '../files/delivery-lease.ts';
import { federatedDigest, federatedRootsOf } from '../files/federated-roots.ts';
import { DeliverySteps } from '../files/delivery-steps.ts';
import { DeliveredTargets } from '../files/file-targets.ts';
import { openDriver } from '../files/drivers/index.ts';
import { privateDirectoriesOf } from '../config.ts';
import {
  checkSet,
  fileOperations,
  fileTargetsOf,
  systemAccounts,
  TargetSets,
  type FileTarget,
  type StoredSet,
} from '../files/index.ts';
import type { AgentMetrics } from '../metrics.ts';
import { namesOf } from '../ports/entries.ts';
import type { FileTargets } from '../ports/file-targets.ts';
import { createProber, type Prober } from '../probe/index.ts';
import { KeyPool, SigningQueue } from '../svid/index.ts';
import type { IssuerSession } from '../sync/index.ts';
import type { ConsumersStage } from './consumers.ts';
import type { EntriesStage } from './entries.ts';
import type { AgentEnvironment } from './environment.ts';
import type { Late } from './late.ts';
import type { TrustStage } from './trust.ts';

/** The stage after the SVIDs: certificates for servers that read files. */
export interface FileTargetsStage extends AsyncDisposable {
  readonly targets: FileTargets;
  /** All authorities that are tainted now, with the window (seconds) of each. */
  setTainted(tainted: ReadonlyMap<string, number>): void;
  /** The connection is back. */
  reconnected(): void;
  /** Takes up what an earlier process left. Call it after the session is made. */
  start(): Promise<void>;
}

export interface FileTargetsDependencies {
  readonly trust: TrustStage;
  readonly entries: EntriesStage;
  readonly held: ConsumersStage;
  readonly session: Late<IssuerSession>;
  readonly metrics: AgentMetrics;
}

/** For one connection with its handshake. */
const connectionLimitMs = 5_000;

const byEntries: ReadonlySet<string> = new Set([
  'NO_IDENTITY',
  'NOT_SYNCED',
  'ENTRY_CHANGED',
  'ENTRY_NOT_AUTHORIZED',
] satisfies ErrorCode[]);
const byConnection: ReadonlySet<string> = new Set([
  'NOT_SYNCED',
  'UNREACHABLE',
  'DEADLINE_EXCEEDED',
  'CANCELLED',
  'SHUTTING_DOWN',
  'STARTING_UP',
  // it comes back with other settings
  'NO_ISSUER',
] satisfies ErrorCode[]);
const byNothing: ReadonlySet<string> = new Set();

/** Throws CONFIG_INVALID. */
export async function openFileTargets(
  environment: AgentEnvironment,
  dependencies: FileTargetsDependencies,
): Promise<FileTargetsStage> {
  const { config, clock, random } = environment;
  const { trust, entries } = dependencies;
  await using started = new AsyncDisposableStack();
  const configured = unwrap(
    await fileTargetsOf(config.targets, {
      accounts: systemAccounts,
      user: effectiveUser(),
      privateDirectories: privateDirectoriesOf(config),
      socketPath: config.workloadApi.socketPath,
    }),
  );
  const prober = createProber({
    ...{ clock, random, connectionLimitMs },
    configured: () => configured.flatMap(({ listeners }) => listeners),
  });
  const queueOf = signingQueues(environment, dependencies.session);
  started.defer(() => queueOf.close());
  const tainted = new Map<string, number>();
  const listeners = new Set<() => void>();
  const shared: Shared = {
    ...{ tainted, prober, queueOf: queueOf.of },
    onChange: () => {
      for (const listener of listeners) listener();
    },
  };
  const deliveries = configured.map(
    (target) => [target.name, deliveryOf(target, environment, dependencies, shared)] as const,
  );
  const targets = started.use(new DeliveredTargets(new Map(deliveries), listeners));
  started.defer(entries.cache.onChange(() => targets.changed(byEntries)));
  started.defer(trust.bundles.onChange(() => targets.changed(byConnection)));
  const parts = started.move();
  return {
    targets,
    setTainted(now) {
      tainted.clear();
      for (const [id, windowSeconds] of now) tainted.set(id, windowSeconds);
      targets.changed(byNothing);
    },
    reconnected: () => targets.changed(byConnection),
    start: () => targets.start(),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

interface Shared {
  readonly tainted: ReadonlyMap<string, number>;
  readonly prober: Prober;
  readonly queueOf: (keyType: KeyType) => SigningQueue;
  readonly onChange: () => void;
}

function deliveryOf(
  target: FileTarget,
  environment: AgentEnvironment,
  { trust, entries, held, session, metrics }: FileTargetsDependencies,
  { tainted, prober, queueOf, onChange }: Shared,
): Delivery {
  const { config, clock, random, logger } = environment;
  const { bundles, trustDomain, writes } = trust;
  const sets = new TargetSets(target, { files: fileOperations, user: effectiveUser() });
  const lease = new DeliveryLease({
    ...{ target, bundles, trustDomain, clock, random },
    entries: entries.cache,
    queue: queueOf(target.keyType),
  });
  const identity = () => {
    const found = lease.identity();
    return found.ok ? found.value : undefined;
  };
  const driver = unwrap(
    openDriver(target.driver, { clock, stapled: (outcome) => delivery.stapled(outcome) }),
  );
  const check = offlineCheck(target, { environment, trust, session, lease });
  const events: DeliveryEvents = {
    delivered: (name, outcome) => metrics.targets.delivered(name, outcome),
    failed: (name, code) => metrics.targets.failed(name, code),
    replaced: (serial) => held.replacements.confirmed(serial),
  };
  const delivery = new Delivery({
    ...{ target, sets, clock, random, events, onChange },
    steps: new DeliverySteps({ ...{ target, sets, driver, prober, lease, check, clock } }),
    journal: new FileDeliveryJournal(config.dataDir, writes),
    consumer: new DeliveryConsumer(held.consumers, clock, target),
    world: () => ({
      authoritySetDigest: bundles.current()?.authoritySetDigest.toString('hex'),
      crlsDigest: target.layout.crl === undefined ? undefined : crlsDigest(bundles.crls()),
      federatedDigest: federatedDigest(federatedRootsOf(target.layout, identity(), bundles)),
      identity: identity(),
      tainted,
    }),
    ready: () => entries.cache.synced() && bundles.current() !== undefined,
    connected: () => session.value.connected(),
    logger: logger.child({ part: 'file-targets' }),
  });
  return delivery;
}

/** The checks of a set before it is served. The time is that of the server, which made it. */
function offlineCheck(
  target: FileTarget,
  {
    environment: { clock },
    trust: { bundles },
    session,
    lease,
  }: {
    readonly environment: AgentEnvironment;
    readonly trust: TrustStage;
    readonly session: Late<IssuerSession>;
    readonly lease: DeliveryLease;
  },
): (set: StoredSet, previous: StoredSet | undefined) => Promise<Result<void>> {
  const user = effectiveUser();
  return async (set, previous) => {
    const found = lease.identity();
    if (!found.ok) return found;
    const bundle = bundles.current();
    if (bundle === undefined) throw new PkiError('NOT_SYNCED', 'there is no trust bundle yet');
    const { entry, spiffeId } = found.value;
    const names = namesOf(entry);
    const { dnsNames } = entry;
    return checkSet(
      {
        ...{ target, set, previous },
        ...(names === undefined
          ? {
              wanted: { kind: 'identity', spiffeId, dnsNames },
              rootsDer: bundle.rootsDer,
              crlsDer: bundles.crls(),
            }
          : {
              wanted: { kind: 'names', ...names },
              // a set for an identity has none, and is refused
              rootsDer: (set.forNames?.roots ?? []).map((root) => Buffer.from(root, 'base64')),
              crlsDer: [],
            }),
        federatedDer: federatedRootsOf(target.layout, found.value, bundles),
        now: clock.now() - Math.round(session.value.status().clockSkewSeconds),
      },
      { files: fileOperations, user },
    );
  };
}

/** One queue for each type of key that a target wants. Keys are made when they are needed. */
function signingQueues({ clock }: AgentEnvironment, session: Late<IssuerSession>) {
  const pools: KeyPool[] = [];
  const queues = new Map<KeyType, SigningQueue>();
  return {
    of(keyType: KeyType): SigningQueue {
      const known = queues.get(keyType);
      if (known !== undefined) return known;
      const pool = new KeyPool(keyType, 0);
      pools.push(pool);
      const queue = new SigningQueue(
        (request) => session.value.signX509Svids(request),
        pool,
        clock,
      );
      queues.set(keyType, queue);
      return queue;
    },
    close(): void {
      for (const pool of pools) pool.close();
    },
  };
}
