import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { SdsMetrics } from './apis/sds/index.ts';
import type { LocalServerMetrics } from './local-server/index.ts';
import {
  targetGauges,
  targetMetrics,
  type TargetGauge,
  type TargetMetrics,
} from './target-metrics.ts';

/** What is read when someone scrapes. */
export interface AgentGauges {
  readonly connected: () => boolean;
  readonly svids: () => {
    readonly held: number;
    readonly soonestExpirySeconds: number | undefined;
  };
  readonly entries: () => number;
  readonly consumers: () => number;
  /** Streams of the Workload API whose messages the CRLs do not fit into. */
  readonly streamsWithoutCrls: () => number;
  readonly agentSvidExpirySeconds: () => number | undefined;
  readonly survivedOutageSeconds: () => number;
  readonly secondsSinceContact: () => number | undefined;
  readonly bundleSequence: () => number;
  readonly bundleRefused: () => boolean;
  readonly clockSkewSeconds: () => number;
  /** Files that the state directory does not hold as they should be. */
  readonly unkeptFiles: () => number;
  readonly targets: () => readonly TargetGauge[];
}

export interface AgentMetrics {
  readonly registry: Registry;
  readonly workloadApi: LocalServerMetrics;
  readonly sds: SdsMetrics;
  readonly targets: TargetMetrics;
  /** A connection to the operations port was ended so that others find room. */
  operationsRefused(reason: string): void;
  renewal(kind: 'x509' | 'jwt' | 'agent', succeeded: boolean): void;
  refused(code: string): void;
  expiredInUse(): void;
  /** A validation of the server was carried out, or not. */
  vantage(result: string): void;
  /** A file could not be written into the state directory. */
  stateWriteFailed(): void;
  /** From now on scrapes read these; called once, when all parts are made. */
  observe(gauges: AgentGauges): void;
}

/** Prometheus metrics of one agent, in a registry of its own. */
export function createAgentMetrics(): AgentMetrics {
  const registry = new Registry();
  const operations = new Counter({
    name: 'meshca_agent_operations_connections_refused_total',
    help: 'Connections to the operations port that were ended to make room, by reason',
    labelNames: ['reason'],
    registers: [registry],
  });
  const stateWrites = new Counter({
    name: 'meshca_agent_state_write_failures_total',
    help: 'Writes into the state directory that failed; each is tried again',
    registers: [registry],
  });
  const validations = new Counter({
    name: 'meshca_agent_vantage_tasks_total',
    help: 'Validations of ACME that the server asked for, by result (agreed, disagreed, absent)',
    labelNames: ['result'],
    registers: [registry],
  });
  return {
    registry,
    vantage: (result) => validations.inc({ result }),
    stateWriteFailed: () => stateWrites.inc(),
    ...issuanceCounters(registry),
    workloadApi: workloadApiMetrics(registry),
    sds: sdsMetrics(registry),
    targets: targetMetrics(registry),
    operationsRefused: (reason) => operations.inc({ reason }),
    observe: (gauges) => observe(registry, gauges),
  };
}

function issuanceCounters(
  registry: Registry,
): Pick<AgentMetrics, 'renewal' | 'refused' | 'expiredInUse'> {
  const registers = [registry];
  const renewals = new Counter({
    name: 'meshca_agent_svid_issuances_total',
    help: 'SVIDs obtained or renewed, by kind and outcome',
    labelNames: ['kind', 'outcome'],
    registers,
  });
  const refusals = new Counter({
    name: 'meshca_agent_svid_failures_total',
    help: 'Failed requests for an SVID, by code',
    labelNames: ['code'],
    registers,
  });
  const expired = new Counter({
    name: 'meshca_agent_svids_expired_in_use_total',
    help: 'SVIDs that expired while a workload held them',
    registers,
  });
  for (const kind of ['x509', 'jwt', 'agent'])
    for (const outcome of ['ok', 'failed']) renewals.inc({ kind, outcome }, 0);
  expired.inc(0);
  return {
    renewal: (kind, succeeded) => renewals.inc({ kind, outcome: succeeded ? 'ok' : 'failed' }),
    refused: (code) => refusals.inc({ code }),
    expiredInUse: () => expired.inc(),
  };
}

function workloadApiMetrics(registry: Registry): LocalServerMetrics {
  const registers = [registry];
  const connections = new Gauge({
    name: 'meshca_agent_workload_connections',
    help: 'Open connections of workloads',
    registers,
  });
  const refusedConnections = new Counter({
    name: 'meshca_agent_workload_connections_refused_total',
    help: 'Connections closed at accept',
    labelNames: ['reason'],
    registers,
  });
  const streams = new Gauge({
    name: 'meshca_agent_workload_streams',
    help: 'Open streams of workloads',
    labelNames: ['rpc'],
    registers,
  });
  const deliveries = new Counter({
    name: 'meshca_agent_deliveries_total',
    help: 'Messages with identities or bundles handed to workloads',
    labelNames: ['rpc'],
    registers,
  });
  const confirmed = new Histogram({
    name: 'meshca_agent_delivery_confirmed_seconds',
    help: 'From handing a message over until its reader has taken it',
    labelNames: ['rpc'],
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10],
    registers,
  });
  const denied = new Counter({
    name: 'meshca_agent_workload_refusals_total',
    help: 'Calls of workloads that were refused',
    labelNames: ['rpc', 'code'],
    registers,
  });
  const http2Refused = new Counter({
    name: 'meshca_agent_workload_http2_refusals_total',
    help: 'Streams and connections of workloads that the HTTP/2 layer refused, by HTTP/2 code',
    labelNames: ['what', 'code'],
    registers,
  });
  return {
    connectionOpened: () => connections.inc(),
    connectionClosed: () => connections.dec(),
    connectionRefused: (reason) => refusedConnections.inc({ reason }),
    streamOpened: (rpc) => streams.inc({ rpc }),
    streamClosed: (rpc) => streams.dec({ rpc }),
    delivered: (rpc) => deliveries.inc({ rpc }),
    confirmed: (rpc, afterMs) => confirmed.observe({ rpc }, afterMs / 1000),
    refused: (rpc, code) => denied.inc({ rpc, code }),
    http2Refused: (what, code) => http2Refused.inc({ what, code }),
  };
}

function sdsMetrics(registry: Registry): SdsMetrics {
  const registers = [registry];
  const refused = new Counter({
    name: 'meshca_agent_sds_refused_by_proxies_total',
    help: 'Secrets that a proxy refused; it keeps what it had',
    labelNames: ['kind'],
    registers,
  });
  const notGranted = new Counter({
    name: 'meshca_agent_sds_not_granted_total',
    help: 'Streams of proxies that ended because no entry granted a name',
    registers,
  });
  const mismatches = new Counter({
    name: 'meshca_agent_sds_key_mismatches_total',
    help: 'Certificates that were not sent to a proxy because their key is another',
    registers,
  });
  const withheld = new Gauge({
    name: 'meshca_agent_sds_crls_withheld',
    help: '1 while proxies should have CRLs by sds.crls, and get none or old ones',
    registers,
  });
  for (const kind of ['svid', 'bundles']) refused.inc({ kind }, 0);
  return {
    refusedByProxy: (kind) => refused.inc({ kind }),
    notGranted: () => notGranted.inc(),
    keyMismatch: () => mismatches.inc(),
    crlsWithheld: (isWithheld) => withheld.set(Number(isWithheld)),
  };
}

function observe(registry: Registry, gauges: AgentGauges): void {
  targetGauges(registry, gauges.targets);
  const rows: readonly (readonly [string, string, () => number | undefined])[] = [
    [
      'connected',
      '1 while the sync stream with the server is open',
      () => Number(gauges.connected()),
    ],
    ['seconds_since_contact', 'Since the sync stream was last open', gauges.secondsSinceContact],
    ['svids', 'X.509-SVIDs held', () => gauges.svids().held],
    [
      'svid_soonest_expiry_seconds',
      'Until the first SVID in use expires',
      () => gauges.svids().soonestExpirySeconds,
    ],
    [
      'own_svid_expiry_seconds',
      'Until the SVID of the agent itself expires',
      gauges.agentSvidExpirySeconds,
    ],
    [
      'survived_outage_seconds',
      'Outage of the CA that every SVID held now survives for certain',
      gauges.survivedOutageSeconds,
    ],
    ['entries', 'Registration entries of this agent', gauges.entries],
    ['consumers', 'Consumers that are reported to the server', gauges.consumers],
    [
      'streams_without_crls',
      'Streams of workloads whose client takes no message as large as the CRLs',
      gauges.streamsWithoutCrls,
    ],
    [
      'state_unkept_files',
      'Files of the state directory that could not be written: a restart goes back behind them',
      gauges.unkeptFiles,
    ],
    ['bundle_sequence', 'Sequence of the trust bundle held', gauges.bundleSequence],
    [
      'bundle_refused',
      '1 while the newest trust bundle of the server is refused: the one held lacks what is newer',
      () => Number(gauges.bundleRefused()),
    ],
    [
      'clock_skew_seconds',
      'Clock of this node minus clock of the server at the last contact',
      gauges.clockSkewSeconds,
    ],
  ];
  for (const [name, help, read] of rows)
    new Gauge({
      name: `meshca_agent_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read() ?? Number.NaN);
      },
    });
}
