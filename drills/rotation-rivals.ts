import {
  silentLogger,
  systemClock,
  systemRandom,
  type Clock,
} from '../src/common/runtime/index.ts';
import { PkiError } from '../src/common/errors/index.ts';
import { buildRotation, linuxBoot } from '../src/compose/rotation.ts';
import { databasePath } from '../src/config/index.ts';
import type { RotatedKind, TokenRole } from '../src/domain/index.ts';
import { createSigners, openTokenAdmin, type Signers, type TokenAdmin } from '../src/hsm/index.ts';
import {
  AuthorityRegistry,
  createRecordedIssuance,
  openOperation,
  publishBundle,
  type RotationController,
} from '../src/issuance/index.ts';
import type { Ledger } from '../src/ledger/index.ts';
import { openStore } from '../test/support/open-store.ts';
import { startTestServer, type TestServer } from '../test/support/server.ts';
import type { Breaches } from './drill.ts';
import { RotationRecord } from './rotation-record.ts';
import { passThroughPolicy } from '../test/support/pass-through-policy.ts';

/**
 * The clock of the second actor: so far ahead that any lease of the first has run out for it,
 * within what the guard of the clock bears.
 */
const aheadMs = 20_000;

export interface RivalFigures {
  /** Moments at which the second actor came between, each in a rotation of its own. */
  readonly takeovers: number;
  /** Writes of the first actor, after it had lost the lease, that the store refused. */
  readonly refused: number;
}

/**
 * Two actors over one database and the same tokens. At each thing that the first one does (a write,
 * a look into the token, a key, a signature) it stops; the second one takes the lease and brings
 * the rotation to its end; then the first one goes on with what it had decided. It must come to
 * nothing.
 */
export async function drillRivals(
  breaches: Breaches,
  { short, signal }: { readonly short: boolean; readonly signal: AbortSignal },
): Promise<RivalFigures> {
  await using stack = new AsyncDisposableStack();
  const scene = await openScene(stack);
  const record = new RotationRecord(
    { databasePath: databasePath(scene.config), tokens: scene.tokens },
    breaches,
  );
  let [takeovers, refused] = [0, 0];
  for (const kind of short ? (['jwt'] as const) : (['jwt', 'issuing', 'root'] as const)) {
    for (let at = 0; ; at += short ? 2 : 1) {
      signal.throwIfAborted();
      const before = record.authorities();
      const between = await interrupted(scene, kind, at);
      record.expectOneOfEach(
        `the second actor came between at call ${at} of a rotation of kind ${kind}`,
        before,
      );
      if (!between.came) break;
      takeovers += 1;
      refused += between.refused;
      for (const call of between.accepted) breaches.add(`an actor that had lost its lease ${call}`);
    }
  }
  record.checkHistories();
  await record.checkKeys();
  return { takeovers, refused };
}

/** The database and the tokens of a stopped server, for both actors. */
interface Scene {
  readonly config: TestServer['config'];
  readonly tokens: TestServer['tokens'];
  readonly store: Ledger;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly changed: () => Promise<void>;
}

async function openScene(stack: AsyncDisposableStack): Promise<Scene> {
  const server = stack.use(
    await startTestServer({
      config: {
        rotation: { automatic: false, retireMarginSeconds: 0, jwksCacheSeconds: 1 },
        issuance: { bundleRefreshHintSeconds: 1 },
      },
    }),
  );
  await server.stop();
  const { config, tokens } = server;
  const store = await openStore({
    path: databasePath(config),
    clock: systemClock,
    logger: silentLogger,
    pid: process.pid,
  });
  stack.defer(() => store.close());
  const tokenOf = (role: TokenRole) => ({
    modulePath: tokens.modulePath,
    tokenLabel: tokens.tokens[role === 'root' ? 'root' : 'issuing'].label,
    pin: tokens.tokens[role === 'root' ? 'root' : 'issuing'].pin,
    environment: { SOFTHSM2_CONF: tokens.confPath },
  });
  const openToken = (role: TokenRole): Promise<TokenAdmin> =>
    openTokenAdmin(tokenOf(role), {
      execPath: process.execPath,
      clock: systemClock,
      logger: silentLogger,
    });
  const signers = stack.use(
    await createSigners({
      token: tokenOf('issuing'),
      processes: 1,
      mode: 'sync',
      sessionsPerProcess: 1,
      deadlineMs: 5_000,
      execPath: process.execPath,
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
    }),
  );
  const changed = publishing(config, store, signers);
  await changed();
  return { config, tokens, store, openToken, changed };
}

/** Refreshes the registry, and publishes a bundle if one is due. */
function publishing(config: Scene['config'], store: Ledger, signers: Signers): () => Promise<void> {
  const registry = new AuthorityRegistry({
    place: config.authorities,
    authorities: store.authorities,
    bundles: store.bundles,
    objects: store.objects,
    signers,
    clock: systemClock,
    logger: silentLogger,
  });
  return async () => {
    await registry.refresh();
    await publishBundle(registry.all(), {
      store: store.bundles,
      signers,
      clock: systemClock,
      refreshHintSeconds: 1,
      floor: { sequence: () => 0 },
      logger: silentLogger,
    });
    await registry.refresh();
  };
}

const buildActor = async (
  { config, changed }: Scene,
  over: {
    readonly store: Ledger;
    readonly openToken: Scene['openToken'];
    readonly clock: Clock;
  },
): Promise<RotationController> =>
  (
    await buildRotation({
      config,
      connected: () => false,
      handshakes: () => [],
      changed,
      moved: () => undefined,
      renewals: () => ({ signed: 0, failed: 0, othersSigned: 0, othersFailed: 0 }),
      issuingTokenUsable: () => true,
      canUse: () => true,
      boot: linuxBoot(),
      lastRecordedMs: undefined,
      step: () => undefined,
      random: systemRandom,
      logger: silentLogger,
      issuancePolicy: passThroughPolicy,
      recorded: createRecordedIssuance({
        store: over.store.issuance,
        quotas: over.store.quotas,
        blockedKeys: over.store.blockedKeys,
        clock: over.clock,
      }),
      ...over,
    })
  ).controller;

/** One rotation, in which the second actor comes between at the `at`-th call of the first. */
async function interrupted(scene: Scene, kind: RotatedKind, at: number): Promise<Between> {
  const { store, openToken } = scene;
  const second = await buildActor(scene, {
    store,
    openToken,
    clock: {
      ...systemClock,
      now: () => systemClock.now() + aheadMs / 1000,
      nowMs: () => systemClock.nowMs() + aheadMs,
    },
  });
  const between = new Between(at, () => bringToEnd(second, store));
  const first = await buildActor(scene, {
    store: between.store(store),
    openToken: async (role) => between.token(await between.call('open', () => openToken(role))),
    clock: systemClock,
  });
  await open(kind, store);
  await bringToEnd(first, store);
  await Promise.all([first.close(), second.close()]);
  return between;
}

/** Nobody is there who could confirm, and nothing is waited for: it is forced. */
async function open(kind: RotatedKind, store: Ledger): Promise<void> {
  const targets = (await store.authorities.list({ kind, states: ['active'] })).map(({ id }) => id);
  await openOperation(
    {
      kind,
      actor: 'drill',
      targets,
      trigger: 'operator',
      reason: 'drill',
      spec: { force: { by: 'drill', reason: 'drill' } },
    },
    { store, clock: systemClock },
  );
}

/** Until nothing is under way and each intermediate stands under a root that signs. */
async function bringToEnd(controller: RotationController, store: Ledger): Promise<void> {
  for (let left = 200; left > 0; left -= 1) {
    await controller.settle();
    const all = await store.authorities.list();
    const orphan = all.some(
      (each) =>
        each.kind === 'issuing' &&
        each.state === 'active' &&
        all.find(({ id }) => id === each.parentId)?.state !== 'active',
    );
    if (!orphan && (await store.rotations.list({ underWay: true })).length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('a rotation does not come to its end');
}

/**
 * Stops its actor before its `at`-th call, once, and notes which of the calls that follow were
 * carried out all the same.
 */
class Between {
  came = false;
  refused = 0;
  readonly accepted: string[] = [];
  readonly #at: number;
  readonly #takeOver: () => Promise<void>;
  #calls = 0;

  constructor(at: number, takeOver: () => Promise<void>) {
    this.#at = at;
    this.#takeOver = takeOver;
  }

  async call<T>(what: string, act: () => Promise<T>): Promise<T> {
    if (this.#calls === this.#at) {
      this.came = true;
      this.#calls += 1;
      await this.#takeOver();
    } else if (!this.came) {
      this.#calls += 1;
    }
    void what;
    return act();
  }

  /** A write under the lease. */
  async write<T>(what: string, act: () => Promise<T>): Promise<T> {
    try {
      const done = await this.call(what, act);
      if (this.came) this.accepted.push(what);
      return done;
    } catch (thrown) {
      if (this.came && PkiError.from(thrown).code === 'LEASE_LOST') this.refused += 1;
      throw thrown;
    }
  }

  store(store: Ledger): Ledger {
    const { authorities, rotations } = store;
    return Object.create(store, {
      authorities: {
        value: {
          ...authorities,
          create: (...args: Parameters<typeof authorities.create>) =>
            this.write('recorded an authority', () => authorities.create(...args)),
          complete: (...args: Parameters<typeof authorities.complete>) =>
            this.write('completed an authority', () => authorities.complete(...args)),
          transition: (...args: Parameters<typeof authorities.transition>) =>
            this.write(`moved an authority to ${args[2]}`, () => authorities.transition(...args)),
          rescope: (...args: Parameters<typeof authorities.rescope>) =>
            this.write('changed what an authority signs for', () => authorities.rescope(...args)),
        },
      },
      rotations: {
        value: {
          ...rotations,
          create: (...args: Parameters<typeof rotations.create>) =>
            this.write('opened a rotation', () => rotations.create(...args)),
          update: (...args: Parameters<typeof rotations.update>) =>
            this.write('changed a rotation', () => rotations.update(...args)),
        },
      },
    }) as Ledger;
  }

  token(token: TokenAdmin): TokenAdmin {
    return {
      listKeys: () => token.listKeys(),
      destroyKey: (ckaId) => token.destroyKey(ckaId),
      close: () => token.close(),
      findKey: (ckaId) => this.call('looked for a key', () => token.findKey(ckaId)),
      generateKey: (key) => this.call('made a key', () => token.generateKey(key)),
      sign: (key, bytes) => this.call('signed', () => token.sign(key, bytes)),
      generateMacKey: (key) => token.generateMacKey(key),
      findMacKey: (ckaId) => token.findMacKey(ckaId),
    };
  }
}
