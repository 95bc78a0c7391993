import { PkiError } from '../../src/common/errors/index.ts';
import { TrustDomain } from '../../src/common/spiffe/index.ts';
import { BundleStore, readBundleFile } from '../bundle/index.ts';
import { fingerprintsHex, type AgentConfig } from '../config.ts';
import type { AgentMetrics } from '../metrics.ts';
import {
  IssuerConnection,
  type ConnectionOptions,
  type ServerTrust,
} from '../issuer-client/index.ts';
import {
  AgentIdentity,
  configuredEvidence,
  configuredTypes,
  nodeAttestorTypes,
} from '../node-attestation/index.ts';
import { AgentState, lockDirectory, StateWrites } from '../state/index.ts';
import { connectCatchingUp } from './catch-up.ts';
import type { AgentEnvironment } from './environment.ts';

type Identity = ConnectionOptions['identity'];

/** First stage: whom the agent believes, who it is, and how it reaches the server. */
export interface TrustStage extends AsyncDisposable {
  readonly trustDomain: TrustDomain;
  readonly bundles: BundleStore;
  readonly identity: AgentIdentity;
  readonly state: AgentState;
  /** What is to stand in the state directory. */
  readonly writes: StateWrites;
  /** To the server as the bundle proves it; walks the bundle forward where it must. */
  readonly connect: (as: Identity, signal: AbortSignal) => Promise<IssuerConnection>;
}

/** Takes the state directory and keeps it until it is disposed. */
export async function openTrust(
  environment: AgentEnvironment,
  metrics: Pick<AgentMetrics, 'stateWriteFailed'>,
): Promise<TrustStage> {
  const { config, logger, version, pid, clock, random } = environment;
  await using started = new AsyncDisposableStack();
  const trustDomain = TrustDomain.of(config.trustDomain);
  const lock = await lockDirectory(config.dataDir, { pid, now: clock.now() });
  started.defer(() => lock.release());
  const writes = started.use(
    new StateWrites({
      directory: lock,
      clock,
      logger: logger.child({ part: 'state' }),
      onFailure: () => metrics.stateWriteFailed(),
    }),
  );
  const state = await AgentState.open(config.dataDir, trustDomain, writes);
  const bundles = new BundleStore(trustDomain, logger.child({ part: 'bundle' }), (json) =>
    state.saveBundle(json),
  );
  const keptBundle = (await state.bundle()) ?? (await configuredBundle(config));
  if (keptBundle !== undefined) bundles.restore(keptBundle);

  const dial = connector(environment, trustDomain);
  const connect = connectorByBundle(environment, bundles, dial);
  const attestationLogger = logger.child({ part: 'attestation' });
  const identity = await AgentIdentity.load({
    trustDomain,
    state,
    bundles,
    clock,
    random,
    logger: attestationLogger,
    agentVersion: version,
    configured: () => configuredEvidence(nodeAttestorTypes, config.attestation, attestationLogger),
    connectAnonymously: (signal) =>
      bundles.roots().length > 0
        ? connect(undefined, signal)
        : dial(undefined, bootstrapTrust(config), signal),
  });
  assertCanJoin(config, identity, bundles);
  writes.watch();
  const parts = started.move();
  return {
    trustDomain,
    bundles,
    identity,
    state,
    writes,
    connect,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

type Dial = (
  identity: Identity,
  trust: ServerTrust,
  signal: AbortSignal,
) => Promise<IssuerConnection>;

const connector =
  ({ config, clock, logger }: AgentEnvironment, trustDomain: TrustDomain): Dial =>
  (identity, trust, signal) =>
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

function connectorByBundle(
  { logger }: AgentEnvironment,
  bundles: BundleStore,
  dial: Dial,
): TrustStage['connect'] {
  const byBundle: ServerTrust = { kind: 'bundle', roots: () => bundles.roots() };
  const catchUp = {
    bundles,
    connectUnverified: (signal: AbortSignal) => dial(undefined, { kind: 'insecure' }, signal),
    logger: logger.child({ part: 'bundle' }),
  };
  return (as, signal) => connectCatchingUp(() => dial(as, byBundle, signal), catchUp, signal);
}

async function configuredBundle({ bootstrap }: AgentConfig) {
  return bootstrap.bundlePath === undefined ? undefined : readBundleFile(bootstrap.bundlePath);
}

function bootstrapTrust({ bootstrap }: AgentConfig): ServerTrust {
  if (bootstrap.rootFingerprint !== undefined)
    return { kind: 'fingerprint', rootsSha256Hex: fingerprintsHex(bootstrap.rootFingerprint) };
  if (bootstrap.insecureBootstrap) return { kind: 'insecure' };
  throw new PkiError('SERVER_UNTRUSTED', 'there is nothing to verify the server with', {
    next: 'Set bootstrap.bundlePath or bootstrap.rootFingerprint.',
  });
}

/** Finds at the start what no retry could mend. */
function assertCanJoin(config: AgentConfig, identity: AgentIdentity, bundles: BundleStore): void {
  if (bundles.roots().length === 0) bootstrapTrust(config);
  if (identity.credential === undefined && configuredTypes(config.attestation).length === 0) {
    throw new PkiError(
      'NODE_CREDENTIAL_MISSING',
      'this agent has no identity yet, and attestation names nothing that it can prove itself with',
    );
  }
}
