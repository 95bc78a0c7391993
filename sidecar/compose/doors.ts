import type { AgentStatus } from '../../src/common/wire/generated/meshca/agent/v1/AgentStatus.ts';
import {
  agentContract,
  reportsContract,
  sdsContract,
  workloadContract,
} from '../../src/common/wire/index.ts';
import { localApi, localApiLimits } from '../apis/local/index.ts';
import { namesOf, sdsApi, type Validation } from '../apis/sds/index.ts';
import { standardApi } from '../apis/standard/index.ts';
import { defaultWorkloadApiLimits, workloadApi } from '../apis/workload/index.ts';
import { createAttestor, linuxKernel, workloadAttestorTypes } from '../attest/index.ts';
import {
  createRefusalLog,
  defaultLimits,
  silentMetrics,
  startLocalServer,
  type LocalServerOptions,
  type SocketApi,
} from '../local-server/index.ts';
import type { AgentConfig } from '../config.ts';
import type { AgentMetrics } from '../metrics.ts';
import { startOps } from '../ops.ts';
import type { Identity } from '../ports/entries.ts';
import { grantedBundles } from '../ports/granted-bundles.ts';
import type { FileTargets } from '../ports/file-targets.ts';
import type { Standing } from '../ports/svids.ts';
import type { ConsumersStage } from './consumers.ts';
import type { EntriesStage } from './entries.ts';
import type { AgentEnvironment } from './environment.ts';
import { openIstioSocket } from './istio-socket.ts';
import type { Readiness } from './report.ts';
import type { SessionStage } from './session.ts';
import type { SvidsStage } from './svids.ts';
import type { TrustStage } from './trust.ts';

/** Last stage: the sockets for workloads, for operators of the node, and for monitoring. */
export interface DoorsStage extends AsyncDisposable {
  readonly opsPort: number;
}

export interface DoorsDependencies {
  readonly trust: TrustStage;
  readonly entries: EntriesStage;
  readonly held: ConsumersStage;
  readonly svids: SvidsStage;
  readonly metrics: AgentMetrics;
  readonly issuers: SessionStage['issuers'];
  readonly readiness: () => Readiness;
  readonly status: () => AgentStatus;
  readonly standing: (identity: Identity) => Standing;
  readonly targets: FileTargets;
}

type SharedOptions = Pick<
  LocalServerOptions,
  'attestor' | 'kernel' | 'entries' | 'bundles' | 'consumers' | 'refusals' | 'clock'
>;

const drainMs = 1000;

export async function openDoors(
  environment: AgentEnvironment,
  dependencies: DoorsDependencies,
): Promise<DoorsStage> {
  const { config, logger, clock } = environment;
  const { trust, entries, held, metrics, readiness } = dependencies;
  await using started = new AsyncDisposableStack();
  const attestor = started.use(
    createAttestor({
      clock,
      logger: logger.child({ part: 'attest' }),
      types: workloadAttestorTypes,
      configuration: config.workloadAttestation,
    }),
  );
  const shared: SharedOptions = {
    attestor,
    kernel: linuxKernel(),
    entries: entries.cache,
    bundles: trust.bundles,
    consumers: held.consumers,
    refusals: createRefusalLog(),
    clock,
  };
  const workloads = await openWorkloadSocket(environment, dependencies, shared);
  started.defer(() => workloads.drain(drainMs));
  started.use(await openLocalSocket(environment, dependencies, shared));
  started.use(await openIstioSocket(environment, dependencies, shared));
  const ops = started.use(
    await startOps({
      ...config.ops,
      metrics: () => metrics.registry.metrics(),
      metricsContentType: metrics.registry.contentType,
      readiness,
      onRefused: (reason) => metrics.operationsRefused(reason),
      logger,
    }),
  );
  const open = started.move();
  return { opsPort: ops.port, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

/** A proxy names its node in its first request, which has 61,090 bytes in Envoy 1.40. */
const proxyRequestBytes = 128 * 1024;

function openWorkloadSocket(
  environment: AgentEnvironment,
  dependencies: DoorsDependencies,
  shared: SharedOptions,
) {
  const { config, logger } = environment;
  const { held, svids, metrics, readiness } = dependencies;
  const { socketPath, socketMode, connectionsPerUid, streamsPerUid } = config.workloadApi;
  const { bundles, clock } = shared;
  const proxies = config.sds.enabled ? [secretDiscovery(environment, dependencies, shared)] : [];
  return startLocalServer({
    ...shared,
    socket: { path: socketPath, mode: Number.parseInt(socketMode, 8) },
    apis: [
      workloadApi({
        svids: svids.manager,
        bundles,
        withoutCrls: held.withoutCrls,
        onHandshakes: (count) => held.handshakes.record(count),
        clock,
        limits: defaultWorkloadApiLimits,
      }),
      ...proxies,
      standardApi({
        callers: { kind: 'workloads' },
        ready: () => readiness().reasons.length === 0,
        contracts: [
          workloadContract(),
          reportsContract(),
          ...(config.sds.enabled ? [sdsContract()] : []),
        ],
      }),
    ],
    logger: logger.child({ part: 'workload-api' }),
    metrics: metrics.workloadApi,
    limits: {
      ...defaultLimits,
      ...(config.sds.enabled ? { requestBytes: proxyRequestBytes } : {}),
      ...(connectionsPerUid === undefined ? {} : { connectionsPerUid }),
      ...(streamsPerUid === undefined ? {} : { streamsPerUid }),
    },
  });
}

function secretDiscovery(
  { config, logger, random }: AgentEnvironment,
  { issuers, svids, metrics }: DoorsDependencies,
  shared: SharedOptions,
): SocketApi {
  const { crls, crlFailClosed } = config.sds;
  return sdsApi({
    ...shared,
    svids: svids.manager,
    random,
    validation: validationOf(config),
    crls: crls ? (crlFailClosed ? 'fail closed' : 'fail open') : 'none',
    issuers: () => issuers.verified().map(({ chainDer }) => chainDer),
    logger: logger.child({ part: 'sds' }),
    metrics: metrics.sds,
  });
}

const validationOf = ({ sds }: AgentConfig): Validation => ({
  names: {
    defaultSvid: sds.defaultSvidName,
    ownBundle: sds.defaultBundleName,
    allBundles: sds.allBundlesName,
  },
  spiffeValidator: sds.spiffeValidator,
});

function openLocalSocket(
  { config, logger, uid }: AgentEnvironment,
  { trust, status, standing, readiness, targets }: DoorsDependencies,
  shared: SharedOptions,
) {
  const { socketPath, socketMode, uids } = config.localApi;
  const { bundles } = shared;
  const api = localApi({
    ...shared,
    foreign: trust.bundles,
    allowedUids: [uid, ...uids],
    status,
    standing,
    targets,
    secretNames(identities) {
      const own = bundles.current();
      if (!config.sds.enabled || own === undefined) return [];
      const granted = grantedBundles(identities, own, bundles.federated());
      return namesOf({ identities, ...granted }, validationOf(config));
    },
  });
  return startLocalServer({
    ...shared,
    socket: { path: socketPath, mode: Number.parseInt(socketMode, 8) },
    apis: [
      api,
      standardApi({
        callers: api.callers,
        ready: () => readiness().reasons.length === 0,
        contracts: [agentContract()],
      }),
    ],
    logger: logger.child({ part: 'local-api' }),
    metrics: silentMetrics,
    limits: localApiLimits,
  });
}
