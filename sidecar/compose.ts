import { PkiError } from '../src/common/errors/index.ts';
import {
  systemClock,
  systemRandom,
  type Clock,
  type Logger,
  type Random,
} from '../src/common/runtime/index.ts';
import { TrustDomain } from '../src/common/spiffe/index.ts';
import type { AgentStatus } from '../src/common/wire/generated/meshca/agent/v1/AgentStatus.ts';
import type { AuthoritiesUpdate__Output } from '../src/common/wire/generated/meshca/issuer/v1/AuthoritiesUpdate.ts';
import type { TaintedAuthority__Output } from '../src/common/wire/generated/meshca/issuer/v1/TaintedAuthority.ts';
import { parseCertificate } from '../src/common/x509/index.ts';
import { localApi, localApiLimits } from './apis/local/index.ts';
import { defaultWorkloadApiLimits, workloadApi } from './apis/workload/index.ts';
import { createAttestor, linuxKernel } from './attest/index.ts';
import { connectCatchingUp } from './catch-up.ts';
import { BundleStore, checkCrlSet, IssuerChains, readBundleFile } from './bundle/index.ts';
import { SyncedEntryCache } from './cache/index.ts';
import { configuredOutageSeconds, fingerprintHex, type AgentConfig } from './config.ts';
import { EntriesKeeper } from './entries-keeper.ts';
import { HoldingsKeeper } from './holdings-keeper.ts';
import {
  IssuerConnection,
  type ConnectionOptions,
  type ServerTrust,
} from './issuer-client/index.ts';
import { createAgentMetrics } from './metrics.ts';
import { AgentIdentity, configuredCredential } from './node-attestation/index.ts';
import { startOps } from './ops.ts';
import { survivedOutageSeconds } from './schedule/index.ts';
import {
  AgentState,
  CheckpointKeeper,
  FileWorkloadKeyStore,
  loadEntries,
  loadHoldings,
  lockDirectory,
} from './state/index.ts';
import { JwtSvids, KeyPool, SigningQueue, svidManager, X509Svids } from './svid/index.ts';
import {
  Consumers,
  EntriesReceiver,
  HandshakeCounts,
  IssuerSession,
  Replacements,
} from './sync/index.ts';
import {
  createRefusalLog,
  defaultLimits,
  silentMetrics,
  startLocalServer,
} from './local-server/index.ts';

export interface AgentDependencies {
  readonly config: AgentConfig;
  readonly logger: Logger;
  readonly version: string;
  /** The agent's own user, who may use the local API. */
  readonly uid: number;
  /** Of this process, for whoever is refused the same data directory; 0: it is not told. */
  readonly pid?: number;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface RunningAgent extends AsyncDisposable {
  readonly opsPort: number;
  status(): AgentStatus;
  readiness(): { readonly reasons: readonly string[]; readonly notes: readonly string[] };
}

const notReadyDrainMs = 1000;

/**
 * Builds one agent and starts it. What fails here is fatal to the start; what fails later is
 * retried and shown in the status.
 */
export async function startAgent({
  config,
  logger,
  version,
  uid,
  pid = 0,
  clock = systemClock,
  random = systemRandom,
}: AgentDependencies): Promise<RunningAgent> {
  await using started = new AsyncDisposableStack();
  const trustDomain = TrustDomain.of(config.trustDomain);
  const lock = await lockDirectory(config.dataDir, { pid, now: clock.now() });
  // the last to go: what still writes into the directory has ended by then
  started.defer(() => lock.release());
  const state = await AgentState.open(config.dataDir, trustDomain);
  const bundles = new BundleStore(trustDomain, logger.child({ part: 'bundle' }), (json) =>
    state.saveBundle(json),
  );
  const keptBundle =
    (await state.bundle()) ??
    (config.bootstrap.bundlePath === undefined
      ? undefined
      : await readBundleFile(config.bootstrap.bundlePath));
  if (keptBundle !== undefined) bundles.restore(keptBundle);

  const connect = (
    identity: ConnectionOptions['identity'],
    trust: ServerTrust,
    signal: AbortSignal,
  ): Promise<IssuerConnection> =>
    IssuerConnection.open(
      {
        address: config.serverAddress,
        trustDomain,
        trust,
        identity,
        clock,
        connectTimeoutMs: config.connection.timeoutMs,
        callDeadlineMs: config.connection.callDeadlineMs,
        keepaliveMs: config.connection.keepaliveMs,
        logger: logger.child({ part: 'connection' }),
      },
      signal,
    );
  const byBundle: ServerTrust = { kind: 'bundle', roots: () => bundles.roots() };
  const catchUp = {
    bundles,
    connectUnverified: (signal: AbortSignal) => connect(undefined, { kind: 'insecure' }, signal),
    logger: logger.child({ part: 'bundle' }),
  };
  const connectByBundle = (
    as: ConnectionOptions['identity'],
    signal: AbortSignal,
  ): Promise<IssuerConnection> =>
    connectCatchingUp(() => connect(as, byBundle, signal), catchUp, signal);
  const identity = await AgentIdentity.load({
    trustDomain,
    state,
    bundles,
    clock,
    random,
    logger: logger.child({ part: 'attestation' }),
    agentVersion: version,
    configured: () =>
      configuredCredential(config.attestation, logger.child({ part: 'attestation' })),
    connectAnonymously: (signal) =>
      bundles.roots().length > 0
        ? connectByBundle(undefined, signal)
        : connect(undefined, bootstrapTrust(config), signal),
  });
  assertCanJoin(config, identity, bundles);

  const cache = new SyncedEntryCache({
    trustDomain,
    clock,
    logger: logger.child({ part: 'entries' }),
  });
  started.defer(() => cache.stop());
  const agentId = identity.spiffeId?.toString();
  const keptEntries =
    agentId === undefined ? undefined : await loadEntries(config.dataDir, agentId);
  if (keptEntries !== undefined) cache.applySnapshot(keptEntries.entries);
  const receiver = new EntriesReceiver(
    cache,
    agentId === undefined || keptEntries === undefined
      ? undefined
      : { agentId, position: keptEntries.position },
  );
  const keeper = new EntriesKeeper({ directory: config.dataDir, cache, receiver, clock, logger });

  // the parts below know each other through these: nothing is called before all stand
  const report = (): void => session.reportSoon();
  const holdings = new HoldingsKeeper({
    directory: config.dataDir,
    consumers: () => consumers,
    clock,
    logger,
  });
  const consumers: Consumers = new Consumers(clock, report, () => holdings.changed());
  started.defer(() => consumers.stop());
  const replacements = new Replacements(report);
  const handshakes = new HandshakeCounts(report);
  const issuers = new IssuerChains(() => bundles.roots(), clock, logger.child({ part: 'bundle' }));
  let pulledForward = '';
  const taint = (tainted: readonly TaintedAuthority__Output[]): void => {
    x509.setTainted(
      new Map(tainted.map(({ authorityId, windowSeconds }) => [authorityId, windowSeconds])),
    );
    if (tainted.length > 0) jwt.clear();
    const own = identity.credential?.chainDer[0];
    const issuer = own === undefined ? undefined : parseCertificate(own);
    const mine = tainted.find(
      ({ subjectKeyId }) =>
        issuer?.ok === true && issuer.value.authorityKeyId === subjectKeyId.toString('hex'),
    );
    // once for each certificate: the server repeats its state, and each draw would only bring it
    // forward
    if (mine === undefined || identity.credential?.serial === pulledForward) return;
    pulledForward = identity.credential?.serial ?? '';
    identity.pullForward(mine.windowSeconds);
    session.replan();
  };
  const authorities = (update: AuthoritiesUpdate__Output): void => {
    issuers.set(update.published);
    const crls = checkCrlSet(
      update.crls.map(({ der }) => der),
      [...bundles.roots(), ...issuers.verified().flatMap(({ chainDer }) => chainDer)],
      clock.now(),
    );
    if (!crls.ok)
      logger.error(
        { code: crls.error.code, reason: crls.error.message },
        'the CRLs of the server are not handed on',
      );
    bundles.setCrls(crls.ok ? crls.value : []);
    confirmSelf();
  };
  const outage = (): number => {
    const shortest = x509.shortestLifeSeconds();
    return shortest === undefined
      ? configuredOutageSeconds(config)
      : survivedOutageSeconds(shortest);
  };
  const checkpoints = await CheckpointKeeper.open(config.dataDir);
  const session: IssuerSession = new IssuerSession({
    identity,
    bundles,
    receiver,
    consumers,
    replacements,
    handshakes,
    checkpoints,
    clock,
    random,
    logger: logger.child({ part: 'session' }),
    agentVersion: version,
    connect: connectByBundle,
    survivedOutageSeconds: outage,
    reconnect: { baseMs: config.connection.backoffBaseMs, capMs: config.connection.backoffCapMs },
    soonestExpirySeconds: () => x509.horizon().soonestExpirySeconds,
    onEntries: () => keeper.changed(),
    onTainted: taint,
    onAuthorities: authorities,
    onRenewal: (succeeded) => metrics.renewal('agent', succeeded),
  });
  const keys = new KeyPool(config.svid.keyType, config.svid.readyKeys);
  started.defer(() => keys.stop());
  const queue = new SigningQueue((request) => session.signX509Svids(request), keys, clock);
  const x509: X509Svids = new X509Svids({
    trustDomain,
    cache,
    queue,
    roots: () => bundles.roots(),
    connected: () => session.connected(),
    clock,
    random,
    logger: logger.child({ part: 'svid' }),
    warm: config.svid.warm,
    prefetch: config.svid.prefetch,
    readyDeadlineMs: 10_000,
    events: {
      renewed: () => metrics.renewal('x509', true),
      failed: (code) => {
        metrics.renewal('x509', false);
        metrics.refused(code);
      },
      expiredInUse: () => metrics.expiredInUse(),
      replaced: (serial) => replacements.confirmed(serial),
    },
    ...(config.svid.persistWorkloadKeys
      ? { keyStore: new FileWorkloadKeyStore(config.svid.workloadKeysDir) }
      : {}),
  });
  started.defer(() => x509.stop());
  const jwt: JwtSvids = new JwtSvids({
    sign: (request) => session.signJwtSvid(request),
    cache,
    clock,
    logger,
    size: config.svid.jwtCache,
    onSigned: (succeeded) => metrics.renewal('jwt', succeeded),
  });
  if (keptEntries !== undefined) await x509.restore();
  consumers.restore(await loadHoldings(config.dataDir));

  const agentExpiry = (): number | undefined =>
    identity.credential === undefined ? undefined : identity.credential.notAfter - clock.now();
  const metrics = createAgentMetrics({
    connected: () => session.connected(),
    svids: () => x509.horizon(),
    entries: () => cache.size(),
    consumers: () => consumers.size,
    agentSvidExpirySeconds: agentExpiry,
    survivedOutageSeconds: outage,
    bundleSequence: () => bundles.current()?.sequence ?? 0,
    clockSkewSeconds: () => session.status().clockSkewSeconds,
    secondsSinceContact: () => {
      const { lastContactMonotonicMs } = session.status();
      return lastContactMonotonicMs === undefined
        ? undefined
        : (clock.monotonicMs() - lastContactMonotonicMs) / 1000;
    },
  });

  const readiness = (): { reasons: string[]; notes: string[] } => {
    const { connected, lastError, barred } = session.status();
    const reasons: string[] = [];
    const notes: string[] = [];
    const because = lastError === undefined ? '' : `: ${lastError.message} (${lastError.code})`;
    if (bundles.current() === undefined || identity.credential === undefined)
      reasons.push(`the node is not attested yet${because}`);
    else if (!cache.synced()) reasons.push(`the entries have not been received yet${because}`);
    if (barred !== undefined)
      reasons.push(`the server gives this agent nothing new: ${barred.message} (${barred.code})`);
    if (!connected && reasons.length === 0)
      notes.push(`not connected to the server${because}; what is valid is served`);
    const promised = config.outage.promisedSeconds;
    if (promised !== undefined && outage() < promised)
      notes.push(
        `an outage of ${promised} s is promised, but SVIDs in use survive only ${outage()} s`,
      );
    return { reasons, notes };
  };
  const status = (): AgentStatus => {
    const { connected, lastError } = session.status();
    const { reasons, notes } = readiness();
    return {
      spiffeId: identity.spiffeId?.toString() ?? '',
      trustDomain: trustDomain.name,
      version,
      connected,
      synced: cache.synced(),
      ready: reasons.length === 0,
      reasons: [...reasons, ...notes],
      svidNotAfter: identity.credential?.notAfter ?? 0,
      svidRenewAt:
        identity.credential === undefined
          ? 0
          : clock.now() + Math.round((identity.renewAtMonotonicMs - clock.monotonicMs()) / 1000),
      entries: cache.size(),
      survivedOutageSeconds: outage(),
      bundleSequence: bundles.current()?.sequence ?? 0,
      serverAddress: config.serverAddress,
      lastError: lastError === undefined ? '' : `${lastError.code}: ${lastError.message}`,
      svids: x509.held().map(({ svid, renewAt, consumers: holders }) => ({
        spiffeId: svid.identity.spiffeId.toString(),
        entryId: svid.identity.entry.id,
        serial: svid.serial,
        notAfter: svid.notAfter,
        renewAt,
        consumers: holders,
        hint: svid.identity.entry.hint,
      })),
    };
  };

  const attestor = createAttestor({ clock, logger: logger.child({ part: 'attest' }) });
  started.use(attestor);
  const refusals = createRefusalLog();
  const shared = {
    attestor,
    kernel: linuxKernel(),
    entries: cache,
    bundles,
    consumers,
    refusals,
    clock,
  };
  const { connectionsPerUid, streamsPerUid } = config.workloadApi;
  const workloadServer = await startLocalServer({
    ...shared,
    socket: {
      path: config.workloadApi.socketPath,
      mode: Number.parseInt(config.workloadApi.socketMode, 8),
    },
    apis: [
      workloadApi({
        svids: svidManager(x509, jwt),
        bundles,
        onHandshakes: (count) => handshakes.record(count),
        clock,
        limits: defaultWorkloadApiLimits,
      }),
    ],
    logger: logger.child({ part: 'workload-api' }),
    metrics: metrics.workloadApi,
    limits: {
      ...defaultLimits,
      ...(connectionsPerUid === undefined ? {} : { connectionsPerUid }),
      ...(streamsPerUid === undefined ? {} : { streamsPerUid }),
    },
  });
  started.defer(() => workloadServer.drain(notReadyDrainMs));
  const localServer = await startLocalServer({
    ...shared,
    socket: {
      path: config.localApi.socketPath,
      mode: Number.parseInt(config.localApi.socketMode, 8),
    },
    apis: [
      localApi({
        allowedUids: [uid, ...config.localApi.uids],
        status,
        attestor,
        entries: cache,
        refusals,
        clock,
      }),
    ],
    logger: logger.child({ part: 'local-api' }),
    metrics: silentMetrics,
    limits: localApiLimits,
  });
  started.use(localServer);
  const ops = await startOps({
    ...config.ops,
    metrics: () => metrics.registry.metrics(),
    metricsContentType: metrics.registry.contentType,
    readiness,
    logger,
  });
  started.use(ops);

  let self: ReturnType<Consumers['registerAgent']> | undefined;
  const confirmSelf = (): void => {
    const bundle = bundles.current();
    const issuing = issuers.digest();
    if (bundle !== undefined)
      self?.hold(bundle.authoritySetDigest, {
        jwt: bundle.jwtSetDigest,
        ...(issuing === undefined ? {} : { issuers: issuing }),
      });
  };
  bundles.onChange(() => {
    issuers.recheck();
    confirmSelf();
  });
  session.onChange(() => {
    if (!session.connected()) return;
    self ??= consumers.registerAgent(
      identity.spiffeId?.toString() ?? '',
      `meshca agent ${version}`,
    );
    confirmSelf();
    x509.reconnected();
  });

  const stop = new AbortController();
  const running = session.run(stop.signal);
  // last in, first out: the session ends first, the sockets after it
  started.defer(async () => {
    stop.abort(new PkiError('SHUTTING_DOWN', 'the agent is shutting down'));
    await running;
    await keeper.flush();
    await holdings.flush();
  });
  const parts = started.move();
  return {
    opsPort: ops.port,
    status,
    readiness,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

function bootstrapTrust({ bootstrap }: AgentConfig): ServerTrust {
  if (bootstrap.rootFingerprint !== undefined)
    return { kind: 'fingerprint', rootSha256Hex: fingerprintHex(bootstrap.rootFingerprint) };
  if (bootstrap.insecureBootstrap) return { kind: 'insecure' };
  throw new PkiError('SERVER_UNTRUSTED', 'there is nothing to verify the server with', {
    next: 'Set bootstrap.bundlePath or bootstrap.rootFingerprint.',
  });
}

/** Finds at the start what no retry could mend. */
function assertCanJoin(config: AgentConfig, identity: AgentIdentity, bundles: BundleStore): void {
  if (bundles.roots().length === 0) bootstrapTrust(config);
  const { joinToken, joinTokenPath, certificatePath } = config.attestation;
  if (
    identity.credential === undefined &&
    [joinToken, joinTokenPath, certificatePath].every((each) => each === undefined)
  ) {
    throw new PkiError(
      'NODE_CREDENTIAL_MISSING',
      'this agent has no identity yet, and neither a join token nor a node certificate is configured',
    );
  }
}
