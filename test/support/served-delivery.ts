import { generateKeyPairSync } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fail, ok, type Result } from '../../src/common/errors/index.ts';
import { silentLogger, systemClock, systemRandom } from '../../src/common/runtime/index.ts';
import { SpiffeId } from '../../src/common/spiffe/index.ts';
import { effectiveUser } from '../../src/common/unix/effective-user.ts';
import { pkcs8Of, setDigest } from '../../src/common/x509/index.ts';
import type { SetContent, StoredSet } from '../../sidecar/files/certificate-set.ts';
import { Delivery } from '../../sidecar/files/delivery.ts';
import { DeliveryConsumer } from '../../sidecar/files/delivery-consumer.ts';
import { FileDeliveryJournal } from '../../sidecar/files/delivery-journal.ts';
import type { Leased } from '../../sidecar/files/delivery-lease.ts';
import { DeliverySteps } from '../../sidecar/files/delivery-steps.ts';
import { openDriver } from '../../sidecar/files/drivers/index.ts';
import { fileOperations } from '../../sidecar/files/file-operations.ts';
import { checkSet } from '../../sidecar/files/offline-check.ts';
import { TargetSets } from '../../sidecar/files/set-directory.ts';
import type { FileTarget } from '../../sidecar/files/target.ts';
import { createProber } from '../../sidecar/probe/index.ts';
import { Consumers } from '../../sidecar/sync/consumers.ts';
import { FakeClock } from './agent.ts';
import { leafOf } from './certificate-sets.ts';
import type { TestAuthorities } from './servers/index.ts';
import { createSvid } from './test-pki.ts';
import { unwrap } from '../../src/common/errors/index.ts';

export const servedId = 'spiffe://mesh.test/server';

/** What an agent would write, or a set whose key is another's. It may be sent to another process. */
export interface PlannedSet {
  readonly serial: string;
  readonly chainDer: readonly string[];
  readonly keyDer: string;
  readonly rootsDer: readonly string[];
  readonly notBefore: number;
  readonly notAfter: number;
}

let ordinal = 0;

/** Each ends later than the ones before. */
export function plannedSet(
  { root, issuer }: TestAuthorities,
  { wrongKey = false }: { readonly wrongKey?: boolean } = {},
): PlannedSet {
  ordinal += 1;
  const svid = createSvid(issuer, servedId, {
    dnsSans: ['localhost'],
    notAfterIn: 600 + 2 * ordinal,
  });
  const { serialHex, notBefore, notAfter } = leafOf(svid);
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  return {
    serial: serialHex,
    chainDer: svid.chainDer.map((der) => der.toString('base64')),
    keyDer: (wrongKey ? pkcs8Of(other) : svid.keyDer).toString('base64'),
    rootsDer: [root.certificateDer.toString('base64')],
    ...{ notBefore, notAfter },
  };
}

const bytes = (base64: string): Buffer => Buffer.from(base64, 'base64');

export function contentOf(planned: PlannedSet): SetContent {
  const rootsDer = planned.rootsDer.map(bytes);
  return {
    spiffeId: SpiffeId.of(servedId),
    forNames: undefined,
    serial: planned.serial,
    chainDer: planned.chainDer.map(bytes),
    privateKeyPkcs8Der: bytes(planned.keyDer),
    rootsDer,
    crlsDer: [],
    federatedDer: new Map(),
    authoritySetDigest: setDigest(rootsDer),
    notBefore: planned.notBefore,
    notAfter: planned.notAfter,
  };
}

export const setsOf = (target: FileTarget): TargetSets =>
  new TargetSets(target, { files: fileOperations, user: effectiveUser() });

export interface ServedDeliveryOptions {
  readonly target: FileTarget;
  readonly journalDirectory: string;
  /** In the order in which they are obtained. One that is on disk was obtained. */
  readonly planned: readonly PlannedSet[];
  /** `off`: nothing is judged before it is served. */
  readonly offlineCheck: 'on' | 'off';
  /** Called before and after each step. */
  readonly onStep?: (step: string) => void;
}

/** The steps of a delivery, with a look at each. */
class WatchedSteps extends DeliverySteps {
  readonly #onStep: (step: string) => void;

  constructor(
    dependencies: ConstructorParameters<typeof DeliverySteps>[0],
    onStep: (step: string) => void,
  ) {
    super(dependencies);
    this.#onStep = onStep;
  }

  override async run(...args: Parameters<DeliverySteps['run']>): ReturnType<DeliverySteps['run']> {
    this.#onStep(`before ${args[0]}`);
    const event = await super.run(...args);
    this.#onStep(`after ${args[0]}`);
    return event;
  }
}

/**
 * The delivery of the agent to a real server: its disk, journal, driver and proof. Only the
 * certificates are the test's.
 */
export function servedDelivery(options: ServedDeliveryOptions): Delivery {
  const { target, journalDirectory, planned, onStep = () => {} } = options;
  const clock = systemClock;
  const sets = setsOf(target);
  const steps = new WatchedSteps(
    {
      ...{ target, sets, clock },
      driver: unwrap(
        openDriver(target.driver, { clock, stapled: (outcome) => delivery.stapled(outcome) }),
      ),
      prober: createProber({
        clock,
        random: systemRandom,
        configured: () => target.listeners,
        connectionLimitMs: 5_000,
      }),
      lease: { obtain: async () => nextOf(target, planned), fits: () => true },
      check: (set, previous) => checked(options, set, previous),
    },
    onStep,
  );
  const delivery = new Delivery({
    ...{ target, sets, steps, clock },
    random: systemRandom,
    journal: new FileDeliveryJournal(journalDirectory, {
      put: async (_file, write) => {
        await write();
        return true;
      },
      unkept: () => [],
    }),
    // nobody is told
    consumer: new DeliveryConsumer(new Consumers(new FakeClock(), () => {}), clock, target),
    world: () => ({
      authoritySetDigest: undefined,
      crlsDigest: undefined,
      federatedDigest: '',
      identity: undefined,
      tainted: new Map(),
    }),
    ready: () => true,
    connected: () => true,
    events: { delivered: () => {}, failed: () => {}, replaced: () => {} },
    onChange: () => {},
    logger: silentLogger,
  });
  return delivery;
}

function nextOf(target: FileTarget, planned: readonly PlannedSet[]): Result<Leased> {
  const isObtained = ({ serial }: PlannedSet): boolean =>
    Array.from({ length: planned.length + 1 }, (_, index) => `${index + 1}-${serial}`).some(
      (name) => existsSync(join(target.directory, 'sets', name)),
    );
  const next = planned.find((each) => !isObtained(each));
  if (next === undefined) return fail('NO_IDENTITY', 'the test has planned no more sets');
  const content = contentOf(next);
  const now = systemClock.now();
  return ok({
    content,
    facts: {
      rootNames: [],
      crlsDigest: '',
      federatedDigest: '',
      spiffeId: servedId,
      entryId: 'server',
      entryRevision: 1,
      authorityId: 'issuer',
      // far away: the test says when
      renewAt: now + 100_000,
      endsAt: now + 200_000,
    },
  });
}

function checked(
  { target, planned, offlineCheck }: ServedDeliveryOptions,
  set: StoredSet,
  previous: StoredSet | undefined,
): Promise<Result<void>> {
  if (offlineCheck === 'off') return Promise.resolve(ok(undefined));
  return checkSet(
    {
      ...{ target, set, previous },
      wanted: { kind: 'identity', spiffeId: SpiffeId.of(servedId), dnsNames: [] },
      rootsDer: planned[0]?.rootsDer.map(bytes) ?? [],
      crlsDer: [],
      federatedDer: new Map(),
      now: systemClock.now(),
    },
    { files: fileOperations, user: effectiveUser() },
  );
}
