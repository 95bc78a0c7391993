import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Operations } from '../api/index.ts';
import { PkiError } from '../common/errors/index.ts';
import { uuidv7, type Clock, type Logger, type Random } from '../common/runtime/index.ts';
import { SpiffeId, TrustDomain } from '../common/spiffe/index.ts';
import type { TokenRole } from '../domain/index.ts';
import { adminSocketPath, databasePath, type ServerConfig } from '../config/index.ts';
import { LoginTurns, type ManagedSigners, openTokenAdmin, type TokenAdmin } from '../hsm/index.ts';
import {
  AuthorityRegistry,
  AuthoritySources,
  bootstrapAuthorities,
  createIssuer,
  createJwtIssuer,
  crossSign,
  type CrossRequest,
  CrlPublisher,
  publishBundle,
  ServerCertificate,
  signDownstream,
  type DownstreamRequest,
  UpstreamCrls,
  UpstreamSupply,
  type Issuer,
  type MakerDependencies,
  type VaultSession,
  type IssuanceObserver,
  type PrepareOptions,
} from '../issuance/index.ts';
import {
  buildGrpcServer,
  Connections,
  Readiness,
  ServerMetrics,
  startAdminListener,
  startOpsListener,
  startTlsListener,
} from '../server/index.ts';
import {
  createServices,
  HandshakeLedger,
  pendingByKind,
  Pruner,
  RenewalLedger,
  type RunningServices,
} from '../services/index.ts';
import { openSqliteStore, type Store } from '../store/index.ts';
import {
  agentCheckpoints,
  checkLogAtStart,
  restoreFacts,
  startAuditLog,
  startWitnesses,
  logPlan,
  wasRestored,
} from './audit.ts';
import { buildRotation } from './rotation.ts';
import { openSigners } from './token-signers.ts';
import { StandbyLog } from './standby-log.ts';
import { FrontDoor } from './front-door.ts';
import { heldIssuer, heldLeases, heldSigners, heldTokens, staleReason } from './stale.ts';
import {
  crlUrlOf,
  issuingLifeSeconds,
  minimumAuthorityLifeSeconds,
  readPem,
  serviceSettings,
  tokenConfig,
  upstreamAuthority,
  vaultSession,
} from './settings.ts';

export interface ServerParts {
  readonly config: ServerConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  readonly uid: number;
  /** The Node binary, for signer processes. */
  readonly execPath: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** The operator accepts that the database is older than a checkpoint over so many records. */
  readonly acceptRestore?: number;
  /** For the fault drills; absent in production. */
  readonly faults?: {
    readonly step?: (name: string) => void;
    readonly synchronous?: 'OFF';
    readonly onDurable?: () => void /** For the measurement of what it costs. */;
    readonly withoutLog?: true;
  };
}

export interface RunningServer extends AsyncDisposable {
  /**
   * 0 until the first issuing authority is there: without a certificate of its own the server opens
   * no TLS port.
   */
  readonly port: number;
  readonly opsPort: number;
  readonly adminSocketPath: string;
  /** Process IDs of the signers, for drills. */
  signerPids(): readonly number[];
  /** For drills: invalidates all HSM sessions. */
  invalidateSessions(): void;
}

const graceMs = 3_000;
/** A token that does not answer; one that answers wrongly keeps the server from starting. */
const tokenAbsent: ReadonlySet<string> = new Set([
  'HSM_UNAVAILABLE',
  'HSM_TOKEN_NOT_FOUND',
  'HSM_MODULE_MISSING',
  'HSM_FAILED',
]);

/**
 * Builds every object of a server and starts it; what was started is stopped again, in reverse
 * order, if a later part fails.
 */
export async function startServer(parts: ServerParts): Promise<RunningServer> {
  await using stack = new AsyncDisposableStack();
  const { config, clock, random, logger, env } = parts;
  const trustDomain = TrustDomain.of(config.trustDomain);
  const readiness = new Readiness();
  const vault = vaultSession(config, clock, logger.child({ part: 'upstream' }));
  stack.defer(() => vault?.close());
  const issuingToken = await tokenConfig(config, 'issuing', env, vault, logger);
  // fails before anything is made where the root is to be ours
  if (config.authorities.source === 'hsm') await tokenConfig(config, 'root', env, vault, logger);
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });

  const store = await openStore(parts, stack);
  await store.meta.claim(trustDomain.name, clock.now());

  const logins = new LoginTurns();
  const requestedKeys = new Set<string>();
  const openAnyToken = tokenOpener(parts, vault, logins);
  // an older database has all authorities that it had: nothing is made in the token on its strength
  const failedOver =
    config.hsm.standby !== undefined &&
    (await store.authorities.list({ kind: 'issuing', states: ['active'] })).some(
      ({ token }) => token === 'standby',
    );
  if (!(await checkLogAtStart(parts, store)) || parts.acceptRestore !== undefined) {
    try {
      await bootstrap(parts, store, openAnyToken, requestedKeys);
    } catch (thrown) {
      const { code, message } = PkiError.from(thrown);
      if (!failedOver || !tokenAbsent.has(code)) throw thrown;
      logger.error(
        { code, error: message, alert: true },
        'the issuing token is not there; the standby signs',
      );
    }
  }
  let signingToken = (): string => 'issuing';
  const allSigners = await openSigners(
    { parts, vault, logins, issuingToken, failedOver, signingToken: () => signingToken() },
    stack,
  );
  const issuingTokenUsable = (): boolean =>
    ['ready', 'degraded', 'starting'].includes(allSigners.stateOf('issuing').status);
  readiness.add(() =>
    ['ready', 'degraded'].includes(allSigners.state().status)
      ? undefined
      : `the HSM (${signingToken()} token) is ${allSigners.state().status}${allSigners.state().reason ? `: ${allSigners.state().reason}` : ''}`,
  );

  const auditLog = await startAuditLog({
    config,
    store,
    signers: allSigners,
    trustDomain,
    clock,
    logger,
    acceptRestore: parts.acceptRestore,
    actor: `uid:${parts.uid}`,
  });
  stack.defer(() => auditLog.close());
  const signers = heldSigners(allSigners, auditLog);
  const openToken = heldTokens(openAnyToken, auditLog);
  readiness.add(() => staleReason(auditLog));
  readiness.add(() => store.failure()?.message);
  const abandoned = await store.issuance.abandonIntents('SERVER_RESTART', clock.nowMs());
  if (abandoned.length > 0)
    logger.warn(
      { count: abandoned.length },
      'certificates were being signed when the server last stopped; they are recorded as abandoned',
    );

  const registry = new AuthorityRegistry({
    place: config.authorities,
    crossCertificates: config.rotation.crossCertificates,
    authorities: store.authorities,
    bundles: store.bundles,
    objects: store.objects,
    signers,
    logger,
    requestedKeys,
  });
  signingToken = () => registry.issuing()?.token ?? 'issuing';
  const changed = async (): Promise<void> => {
    await registry.refresh();
    if (auditLog.stale !== undefined) return;
    await publishBundle(registry.all(), {
      store: store.bundles,
      signers,
      clock,
      refreshHintSeconds: config.issuance.bundleRefreshHintSeconds,
    });
    await registry.refresh();
  };
  await changed();
  stack.defer(
    store.onRevision(
      () =>
        void registry
          .refresh()
          .catch((thrown: unknown) =>
            logger.error(
              { code: PkiError.from(thrown).code, error: PkiError.from(thrown).message },
              'the authorities could not be read again',
            ),
          ),
    ),
  );

  const metrics = buildMetrics(store, signers, registry, readiness, clock.now, () => ({
    connections: connections?.size ?? 0,
    agents: services?.sync.connectedCount() ?? 0,
    serverNotAfter: certificate?.notAfter() ?? 0,
  }));
  stack.defer(store.onCommit((commit) => metrics.committed(commit)));
  metrics.watchLog(auditLog);
  const witnesses = startWitnesses(config, store, auditLog, clock, logger);
  stack.defer(async () => void (await Promise.all(witnesses.map((witness) => witness.close()))));
  if (witnesses.length > 0) metrics.watchWitnesses(witnesses);
  stack.defer(store.objects.onMismatch(({ kind }) => metrics.notInLog(kind)));
  const renewals = new RenewalLedger();
  const issuer = heldIssuer(
    buildIssuer(parts, store, signers, registry, {
      issued: (kind, seconds) => metrics.issued(kind, seconds),
      refused: (code) => metrics.refused(code),
      outcome: (id, outcome) => renewals.record(id, outcome),
    }),
    auditLog,
  );
  const certificate: ServerCertificate = new ServerCertificate({
    issuer,
    authorities: registry,
    trustDomain,
    dnsNames: config.listen.dnsNames,
    ttlSeconds: config.issuance.serverTtlSeconds,
    clock,
    random,
    logger,
    rootHeld: (rootId) => rotation?.controller.rootHeld(rootId) ?? true,
    presented: (serial) => store.issuance.confirmGone('server', 'server', serial, clock.now()),
  });
  stack.defer(() => certificate.close());

  const upstream = upstreamAuthority(config, vault, clock);
  const sources = new AuthoritySources({
    authorities: store.authorities,
    rotations: store.rotations,
    openIssuingToken: () => openToken('issuing'),
    trustDomain,
    plan: { keyType: config.authorities.issuing.keyType, lifeSeconds: issuingLifeSeconds(config) },
    minimumLifeSeconds: minimumAuthorityLifeSeconds(config),
    clock,
    random,
    logger,
    changed,
    requestedKeys,
    ...(upstream === undefined ? {} : { upstream }),
  });
  const downstream = (request: DownstreamRequest) =>
    signDownstream(request, {
      authorities: { list: () => Promise.resolve(registry.all()) },
      isAuthorityKey: (digest) => registry.isAuthorityKey(digest),
      crlUrl: crlUrlOf(config),
      issuance: store.issuance,
      openToken,
      trustDomain,
      clockSkewSeconds: config.authorities.clockSkewSeconds,
      clock,
      random,
    });
  const cross = (request: CrossRequest) =>
    crossSign(request, {
      authorities: store.authorities,
      issuance: store.issuance,
      openToken,
      trustDomain,
      clockSkewSeconds: config.authorities.clockSkewSeconds,
      clock,
      random,
    });
  if (auditLog.stale === undefined) await sources.resumeFirst('server');
  const supply =
    upstream === undefined
      ? undefined
      : new UpstreamSupply({
          sources,
          present: () => registry.issuing() !== undefined,
          clock,
          random,
          logger,
        });
  stack.defer(() => supply?.close());
  if (auditLog.stale === undefined) await supply?.supply();

  const handshakes = new HandshakeLedger();
  const rotation: Awaited<ReturnType<typeof buildRotation>> = await buildRotation({
    config,
    store: { ...store, leases: heldLeases(store.leases, auditLog) },
    openToken,
    plans: authorityPlans(config),
    connected: (agentId) => services?.sync.isConnected(agentId) ?? false,
    handshakes: (keyId) => handshakes.totals(keyId),
    renewals: (id) => renewals.compare(id),
    changed,
    moved: (kind, to) => metrics.authorityMoved(kind, to),
    canUse: (ckaId) => allSigners.canUse(ckaId),
    issuingTokenUsable,
    clock,
    random,
    logger: logger.child({ part: 'rotation' }),
    ...(parts.faults?.step === undefined ? {} : { step: parts.faults.step }),
  });
  stack.defer(() => rotation.controller.close());

  const crls = new CrlPublisher({
    authorities: registry,
    store: store.revocations,
    onRevision: (listener) => store.onRevision(listener),
    signers,
    openToken,
    held: () => auditLog.stale !== undefined,
    clock,
    logger: logger.child({ part: 'crl' }),
    lifeSeconds: config.issuance.crlLifeDays * 86_400,
    clockSkewSeconds: config.authorities.clockSkewSeconds,
  });
  stack.defer(() => crls.close());
  metrics.watchCrls(crls);
  const upstreamCrls =
    upstream === undefined
      ? undefined
      : new UpstreamCrls({
          upstream,
          publisher: crls,
          authorities: registry,
          clock,
          random,
          logger: logger.child({ part: 'crl' }),
          refreshSeconds: config.authorities.upstream?.crlRefreshSeconds ?? 600,
        });
  stack.defer(() => upstreamCrls?.close());
  let signing = false;
  /** What signs by itself begins with the right to sign. */
  const beginSigning = async (): Promise<void> => {
    if (signing) return;
    signing = true;
    await crls.start();
    // not waited for: nothing else rests on it, and the upstream may be away
    void upstreamCrls?.fetch();
  };
  if (auditLog.stale === undefined) await beginSigning();

  const startedAt = clock.now();
  const accepted = async (): Promise<void> => {
    await bootstrap(parts, store, openToken, requestedKeys);
    await changed();
    await beginSigning();
    await sources.resumeFirst('server');
    void supply?.supply();
    // with another epoch, and without those whom the acceptance has banned again
    services.sync.restartAll();
    rotation.controller.start();
    front.setServing(readiness.ready);
  };
  const services: RunningServices = createServices({
    store,
    issuer,
    authorities: registry,
    clock,
    random,
    logger,
    ...(parts.faults?.withoutLog === undefined ? { logFacts: auditLog } : {}),
    restoreFacts: restoreFacts(config, auditLog, accepted),
    checkpoints: agentCheckpoints(auditLog, logger),
    sources,
    downstream,
    held: () => auditLog.stale !== undefined,
    cross,
    crossInChains: config.rotation.crossCertificates,
    handshakes,
    rotation,
    crls,
    crlSource: crls,
    settings: serviceSettings(config, parts.uid),
    facts: {
      startedAt: () => startedAt,
      readiness: () => ({ ready: readiness.ready, reasons: readiness.reasons() }),
      hsmStatus: () => signers.state().status,
      serverCertificateNotAfter: () => certificate.notAfter(),
    },
  });
  stack.defer(() => services.close());
  await services.gate.recover();
  const connections: Connections = new Connections(services.callers, clock);
  const operations = new Operations(services, clock);
  services.gate.connect((method, request, caller) => operations.execute(method, request, caller));
  const front = buildGrpcServer(
    {
      operations,
      services,
      connections,
      callers: services.callers,
      refusals: services.refusals,
      clock,
      logger,
      limits: config.limits,
      observe: (method, code, seconds) => metrics.call(method, code, seconds),
    },
    config.limits,
  );
  stack.defer(() => front.server.forceShutdown());
  const reread = (): void =>
    void registry
      .refresh()
      .catch((thrown: unknown) =>
        logger.error(
          { code: PkiError.from(thrown).code, error: PkiError.from(thrown).message },
          'the authorities could not be read again',
        ),
      );
  stack.defer(
    signers.onChange(() => {
      front.setServing(readiness.ready);
      // a token that is back has the keys that were missed
      reread();
      rotation.controller.poke();
    }),
  );
  stack.defer(registry.onChange(() => front.setServing(readiness.ready)));
  if (config.hsm.standby !== undefined) {
    const standbyLog = new StandbyLog({
      store,
      auditLog,
      openToken,
      tokenLost: () => signingToken() === 'standby' && !issuingTokenUsable(),
      trustDomain,
      clock,
      random,
      logger: logger.child({ part: 'audit' }),
    });
    stack.defer(() => standbyLog.close());
    for (const stop of [
      registry.onChange(() => void standbyLog.look()),
      allSigners.onChange(() => void standbyLog.look()),
      auditLog.onStale(() => void standbyLog.look()),
    ])
      stack.defer(stop);
    await standbyLog.look();
  }
  stack.defer(() => front.setServing(false));
  stack.defer(auditLog.onStale(() => front.setServing(readiness.ready)));

  const ops = await startOpsListener({
    metrics: () => metrics.registry.metrics(),
    metricsContentType: metrics.registry.contentType,
    reasons: () => readiness.reasons(),
    bundle: () => registry.bundle().document,
    bundleRefreshSeconds: config.issuance.bundleRefreshHintSeconds,
    crl: (id) => crls.crl(id),
    logger,
    options: { address: config.ops.address, port: config.ops.port, ...opsTls(config) },
  });
  stack.defer(() => ops.close());
  const adminPath = adminSocketPath(config);
  const admin = await startAdminListener({
    grpcServer: front.server,
    connections,
    callers: services.callers,
    logger,
    path: adminPath,
    mode: Number.parseInt(config.admin.socketMode, 8),
  });
  stack.defer(() => admin.close(graceMs));
  const door = new FrontDoor({
    authorities: registry,
    logger,
    clock,
    open: async () => {
      await certificate.start();
      return startTlsListener({
        grpcServer: front.server,
        connections,
        callers: services.callers,
        refusals: services.refusals,
        identity: certificate,
        rootsDer: () => registry.rootsDer(),
        logger,
        options: {
          address: config.listen.address,
          port: config.listen.port,
          connections: config.limits.connections,
          handshakes: config.limits.handshakes,
          handshakeSeconds: config.limits.handshakeSeconds,
        },
      });
    },
    opened: () => front.setServing(readiness.ready),
    held: () => auditLog.stale !== undefined,
    onHeld: (listener) => auditLog.onStale(listener),
    advice: config.authorities.source,
    failure: () => supply?.failure(),
  });
  stack.defer(() => door.close(graceMs));
  readiness.add(() => door.reason());
  await door.start();
  if (config.retention.certificatesDays > 0) {
    const pruner = new Pruner({
      store: { ...store, leases: heldLeases(store.leases, auditLog) },
      keepSeconds: config.retention.certificatesDays * 86_400,
      holder: uuidv7(clock.nowMs()),
      clock,
      logger: logger.child({ part: 'retention' }),
    });
    stack.defer(() => pruner.close());
    pruner.start();
  }
  front.setServing(readiness.ready);
  stack.defer(store.onRevision(() => rotation.controller.poke()));
  if (supply !== undefined) stack.defer(rotation.controller.onState(() => void supply.supply()));
  if (auditLog.stale === undefined) rotation.controller.start();

  const owned = stack.move();
  return {
    get port() {
      return door.port;
    },
    opsPort: ops.port,
    adminSocketPath: adminPath,
    signerPids: () => signers.pids(),
    invalidateSessions: () => signers.invalidateSessions(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function openStore(
  { config, clock, logger, pid, faults }: ServerParts,
  stack: AsyncDisposableStack,
): Promise<Store> {
  const path = databasePath(config);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const store = await openSqliteStore({
    path,
    clock,
    logger,
    pid,
    ...(faults?.synchronous === undefined
      ? {}
      : { synchronous: faults.synchronous, faultDrill: true }),
    ...(faults?.withoutLog === undefined ? {} : { withoutLog: true, faultDrill: true }),
    ...(faults?.onDurable === undefined ? {} : { onDurable: faults.onDurable }),
  });
  stack.defer(() => store.close());
  return store;
}

/** The PIN is read anew for each session, so that it is in memory no longer than needed. */
const tokenOpener =
  (
    { config, env, clock, logger, execPath }: ServerParts,
    vault: VaultSession | undefined,
    logins: LoginTurns,
  ) =>
  async (role: TokenRole): Promise<TokenAdmin> =>
    openTokenAdmin(await tokenConfig(config, role, env, vault, logger), {
      logins,
      execPath,
      clock,
      logger,
    });

async function bootstrap(
  { config, clock, random, logger, faults, acceptRestore }: ServerParts,
  store: Store,
  openToken: (role: TokenRole) => Promise<TokenAdmin>,
  requestedKeys: Set<string>,
): Promise<void> {
  const { authorities } = config;
  const tolerateUnknownKeys = acceptRestore !== undefined || (await wasRestored(store));
  await bootstrapAuthorities({
    tolerateUnknownKeys,
    requestedKeys,
    authorities: store.authorities,
    issuance: store.issuance,
    openToken,
    ownRoot: authorities.source === 'hsm',
    trustDomain: TrustDomain.of(config.trustDomain),
    plans: authorityPlans(config),
    clockSkewSeconds: authorities.clockSkewSeconds,
    clock,
    random,
    logger,
    progress: (text) => logger.info({}, text),
    ...(faults?.step === undefined ? {} : { step: faults.step }),
  });
}

function authorityPlans({ authorities }: ServerConfig): MakerDependencies['plans'] {
  const plan = (kind: 'root' | 'issuing' | 'jwt') => ({
    keyType: authorities[kind].keyType,
    lifeSeconds: authorities[kind].lifeDays * 86_400,
  });
  return { root: plan('root'), issuing: plan('issuing'), jwt: plan('jwt'), log: logPlan };
}

function buildIssuer(
  { config, clock, random, faults }: ServerParts,
  store: Store,
  signers: ManagedSigners,
  registry: AuthorityRegistry,
  observe: IssuanceObserver,
): Issuer {
  const { issuance } = config;
  const options: PrepareOptions = {
    clock,
    random,
    leafBackdateSeconds: issuance.leafBackdateSeconds,
    minimumTtlSeconds: issuance.minimumTtlSeconds,
    isAuthorityKey: (digest) => registry.isAuthorityKey(digest),
    crlUrl: crlUrlOf(config),
  };
  const jwt = createJwtIssuer({
    store: store.issuance,
    signers,
    authority: () => registry.jwt(),
    clock,
    random,
    issuer: issuance.jwtIssuer ?? SpiffeId.of(`spiffe://${config.trustDomain}`).toString(),
  });
  return createIssuer({
    store: store.issuance,
    audit: store.audit,
    signers,
    authorities: registry,
    jwt,
    clock,
    options,
    observe,
    ...(faults?.step === undefined ? {} : { step: faults.step }),
  });
}

interface Live {
  readonly connections: number;
  readonly agents: number;
  readonly serverNotAfter: number;
}

function buildMetrics(
  store: Store,
  signers: ManagedSigners,
  registry: AuthorityRegistry,
  readiness: Readiness,
  now: () => number,
  live: () => Live,
): ServerMetrics {
  return new ServerMetrics({
    expiryHorizon: () => ({
      server: live().serverNotAfter,
      ...Object.fromEntries(
        registry
          .all()
          .filter(
            (authority) =>
              authority.notAfter > 0 && ['published', 'active', 'old'].includes(authority.state),
          )
          .map((authority) => [`${authority.kind}/${authority.id}`, authority.notAfter]),
      ),
    }),
    hsm: () => signers.state(),
    connections: () => live().connections,
    agentsConnected: () => live().agents,
    ready: () => readiness.ready,
    certificatesByState: () => store.certificates.countByState(),
    pendingOperations: () => pendingByKind(store.approvals, now()),
  });
}

const opsTls = ({ ops }: ServerConfig) =>
  ops.tlsCertFile === undefined || ops.tlsKeyFile === undefined
    ? {}
    : {
        tls: {
          certPem: readPem(ops.tlsCertFile, 'ops.tlsCertFile'),
          keyPem: readPem(ops.tlsKeyFile, 'ops.tlsKeyFile'),
        },
      };
