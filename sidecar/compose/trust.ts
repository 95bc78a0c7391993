import { PkiError } from '../../src/common/errors/index.ts';
import { TrustDomain } from '../../src/common/spiffe/index.ts';
import { BundleStore } from '../bundle/index.ts';
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
import { connectCatchingUp } from './catch-up.ts';
import { FederatedFile } from '../state/index.ts';
import { openDataDirectory, type DataDirectory } from './data-directory.ts';
import type { AgentEnvironment } from './environment.ts';
import { restoredBundle } from './restored-bundle.ts';
import { TrustedIssuers } from './server-issuers.ts';

type Identity = ConnectionOptions['identity'];

/** First stage: whom the agent believes, who it is, and how it reaches the server. */
export interface TrustStage extends DataDirectory {
  readonly trustDomain: TrustDomain;
  readonly bundles: BundleStore;
  readonly issuers: TrustedIssuers;
  readonly identity: AgentIdentity;
  /** To the server as the bundle proves it; walks the bundle forward where it must. */
  readonly connect: (as: Identity, signal: AbortSignal) => Promise<IssuerConnection>;
}

/** Takes the state directory and keeps it until it is disposed. */
export async function openTrust(
  environment: AgentEnvironment,
  metrics: Pick<AgentMetrics, 'stateWriteFailed'>,
): Promise<TrustStage> {
  const { config, logger, version, clock, random } = environment;
  await using started = new AsyncDisposableStack();
  const trustDomain = TrustDomain.of(config.trustDomain);
  const directory = started.use(await openDataDirectory(environment, trustDomain, metrics));
  const { state, lost, checkpoints, writes } = directory;
  const bundles = await openBundles(environment, { trustDomain, state, lost, writes });
  const issuers = new TrustedIssuers(bundles, config.bootstrap, logger.child({ part: 'bundle' }));
  const { connect, join } = connections(environment, { trustDomain, bundles, issuers });
  const attestationLogger = logger.child({ part: 'attestation' });
  const identity = await AgentIdentity.load({
    trustDomain,
    state,
    bundles,
    clock,
    random,
    logger: attestationLogger,
    agentVersion: version,
    logCheckpoint: () => checkpoints.note,
    configured: () => configuredEvidence(nodeAttestorTypes, config.attestation, attestationLogger),
    connectAnonymously: (signal) =>
      bundles.roots().length > 0 ? connect(undefined, signal) : join(signal),
  });
  assertCanJoin(config, { identity, bundles, issuers });
  // The bundle was lost. The server proves itself by what is configured, and the answer to the
  // recovery brings a bundle that can check the steps after it.
  if (identity.credential !== undefined && !bundles.canVerifySteps()) identity.reject('expired');
  writes.watch();
  const parts = started.move();
  return {
    trustDomain,
    bundles,
    issuers,
    identity,
    state,
    lost,
    checkpoints,
    writes,
    connect,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

async function openBundles(
  { config: { bootstrap, dataDir }, logger: parent }: AgentEnvironment,
  {
    trustDomain,
    state,
    lost,
    writes,
  }: Pick<TrustStage, 'trustDomain' | 'state' | 'lost' | 'writes'>,
): Promise<BundleStore> {
  const logger = parent.child({ part: 'bundle' });
  const federated = new FederatedFile(dataDir, writes);
  const bundles = new BundleStore(trustDomain, logger, {
    own: (json) => state.saveBundle(json),
    federated: (documents) => federated.save(documents),
  });
  const restored = await restoredBundle({ state, lost, bootstrap, logger });
  if (restored !== undefined) bundles.restore(restored);
  bundles.restoreFederated(await federated.load());
  return bundles;
}

/** Ways to the server, each of which tells `issuers` whom it has taken for the server. */
function connections(
  environment: AgentEnvironment,
  { trustDomain, bundles, issuers }: Pick<TrustStage, 'trustDomain' | 'bundles' | 'issuers'>,
): Pick<TrustStage, 'connect'> & {
  /** Before a bundle is held. */
  readonly join: (signal: AbortSignal) => Promise<IssuerConnection>;
} {
  const met = async (opening: Promise<IssuerConnection>): Promise<IssuerConnection> => {
    const connection = await opening;
    issuers.met(connection.server);
    return connection;
  };
  const dial = connector(environment, trustDomain);
  const byBundle = connectorByBundle(environment, { bundles, issuers, dial });
  return {
    connect: (as, signal) => met(byBundle(as, signal)),
    join: (signal) => met(dial(undefined, bootstrapTrust(environment.config, issuers), signal)),
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
  { bundles, issuers, dial }: Pick<TrustStage, 'bundles' | 'issuers'> & { readonly dial: Dial },
): TrustStage['connect'] {
  const byBundle: ServerTrust = {
    kind: 'bundle',
    roots: () => bundles.roots(),
    issuers: () => issuers.now(),
  };
  const catchUp = {
    bundles,
    connectUnverified: (signal: AbortSignal) => dial(undefined, { kind: 'insecure' }, signal),
    logger: logger.child({ part: 'bundle' }),
  };
  return (as, signal) => connectCatchingUp(() => dial(as, byBundle, signal), catchUp, signal);
}

function bootstrapTrust({ bootstrap }: AgentConfig, issuers: TrustedIssuers): ServerTrust {
  if (bootstrap.rootFingerprint !== undefined)
    return {
      kind: 'fingerprint',
      rootsSha256Hex: fingerprintsHex(bootstrap.rootFingerprint),
      issuers: () => issuers.now(),
    };
  if (bootstrap.insecureBootstrap) return { kind: 'insecure' };
  throw new PkiError('SERVER_UNTRUSTED', 'there is nothing to verify the server with', {
    next: 'Set bootstrap.bundlePath or bootstrap.rootFingerprint.',
  });
}

/** Finds at the start what no retry could mend. */
function assertCanJoin(
  config: AgentConfig,
  { identity, bundles, issuers }: Pick<TrustStage, 'identity' | 'bundles' | 'issuers'>,
): void {
  if (bundles.roots().length === 0) bootstrapTrust(config, issuers);
  if (identity.credential === undefined && configuredTypes(config.attestation).length === 0) {
    throw new PkiError(
      'NODE_CREDENTIAL_MISSING',
      'this agent has no identity yet, and attestation names nothing that it can prove itself with',
    );
  }
}
