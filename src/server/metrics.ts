import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { watchAgents, type AgentSources } from './agent-metrics.ts';
import { FederationMetrics, type FederationSources } from './federation-metrics.ts';
import { AcmeMetrics } from './acme-metrics.ts';
import { OcspMetrics } from './ocsp-metrics.ts';
import { PolicyMetrics } from './policy-metrics.ts';
import { TenantMetrics } from './tenant-metrics.ts';
import { watchTargets, type TargetSources } from './target-metrics.ts';

export interface MetricSources extends AgentSources, TargetSources, FederationSources {
  /**
   * By name of a certificate, Unix seconds at which it expires. It is shown as an instant, so that
   * an alert can subtract the present time.
   */
  readonly expiryHorizon: () => Readonly<Record<string, number>>;
  readonly hsm: () => {
    readonly status: string;
    readonly signersReady: number;
    readonly signers: number;
    readonly respawns: number;
    readonly signatures: number;
    readonly chunks: number;
    readonly inFlight: number;
  };
  readonly connections: () => number;
  readonly ready: () => boolean;
  readonly certificatesByState: () => Promise<Readonly<Record<string, number>>>;
  /** The operations that wait for approval now, by the name of their RPC. */
  readonly pendingOperations: () => Promise<
    ReadonlyMap<string, { readonly count: number; readonly oldestSeconds: number }>
  >;
}

const hsmStates = ['starting', 'ready', 'degraded', 'open', 'fatal', 'closed'];

/**
 * The server's metrics (Prometheus naming: base units, _total for counters). Gauges ask their owner
 * when they are scraped.
 */
export class ServerMetrics {
  readonly registry = new Registry();
  readonly #issued = new Counter({
    name: 'meshca_certificates_issued_total',
    help: 'Certificates issued, by kind.',
    labelNames: ['kind'],
    registers: [this.registry],
  });
  readonly #refused = new Counter({
    name: 'meshca_issuance_refusals_total',
    help: 'Requests for a certificate or token that were refused, by code.',
    labelNames: ['code'],
    registers: [this.registry],
  });
  readonly #duration = new Histogram({
    name: 'meshca_issuance_duration_seconds',
    help: 'From request to recorded and released.',
    registers: [this.registry],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
  });
  readonly policy = new PolicyMetrics(this.registry);
  readonly tenants = new TenantMetrics(this.registry);
  readonly ocsp = new OcspMetrics(this.registry);
  readonly acme = new AcmeMetrics(this.registry);
  readonly federation = new FederationMetrics(this.registry);
  readonly #moves = new Counter({
    name: 'meshca_authority_transitions_total',
    help: 'Transitions of authorities that this server carried out, by kind and new state.',
    labelNames: ['kind', 'to'],
    registers: [this.registry],
  });
  readonly #notInLog = new Counter({
    name: 'meshca_objects_not_in_log_total',
    help: 'Looks at an object in the database that differs from the audit log, by kind: alert on any.',
    labelNames: ['kind'],
    registers: [this.registry],
  });
  readonly #doubled = new Counter({
    name: 'meshca_agents_doubled_total',
    help: 'Sights of a second process under the identity of an agent, by how it showed: alert on any.',
    labelNames: ['how'],
    registers: [this.registry],
  });
  readonly #oldClients = new Counter({
    name: 'meshca_tls_old_clients_total',
    help:
      'Clients that offered no TLS 1.3 and were refused, by the control plane whose name they ' +
      'asked for (other: any other name); the log names them.',
    labelNames: ['front'],
    registers: [this.registry],
  });
  readonly #calls = new Counter({
    name: 'meshca_grpc_calls_total',
    help: 'gRPC calls that ended, by method and code.',
    labelNames: ['method', 'code'],
    registers: [this.registry],
  });
  readonly #callDuration = new Histogram({
    name: 'meshca_grpc_unary_duration_seconds',
    help: 'Duration of unary gRPC calls.',
    labelNames: ['method'],
    registers: [this.registry],
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
  });
  readonly #http = new Counter({
    name: 'meshca_http_requests_total',
    help: 'Requests that the HTTP front answered, by plug-in (none: no resource was named) and status.',
    labelNames: ['plugin', 'status'],
    registers: [this.registry],
  });
  readonly #httpRefused = new Counter({
    name: 'meshca_http_connections_refused_total',
    help:
      'HTTP connections that were ended to make room, by listener and reason (evicted: ' +
      'without a whole request; full: all others had one).',
    labelNames: ['listener', 'reason'],
    registers: [this.registry],
  });

  readonly #commits = new Histogram({
    name: 'meshca_store_commit_duration_seconds',
    help: 'From the begin of a transaction until it is on the disk.',
    registers: [this.registry],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
  });
  readonly #writes = new Counter({
    name: 'meshca_store_writes_total',
    help: 'Writes; those that arrive together share a commit.',
    registers: [this.registry],
  });

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  /** The server's own gauges, after its parts exist. */
  watchServer(sources: MetricSources): void {
    this.#gauge(
      'meshca_certificate_expiry_timestamp_seconds',
      'When the certificate of this authority or of the server expires (Unix seconds).',
      'name',
      sources.expiryHorizon,
    );
    this.#gauge(
      'meshca_hsm_state',
      'The state of the signers: 1 for the present one.',
      'state',
      () =>
        Object.fromEntries(
          hsmStates.map((state) => [state, sources.hsm().status === state ? 1 : 0]),
        ),
    );
    this.#gauge(
      'meshca_certificates',
      'Certificates on record, by state.',
      'state',
      sources.certificatesByState,
    );
    this.#pending(sources);
    this.federation.watch(sources);
    watchTargets(this.registry, sources);
    watchAgents(this.registry, sources);
    this.#single(
      'meshca_hsm_signers',
      'Configured number of signer processes.',
      () => sources.hsm().signers,
    );
    this.#single(
      'meshca_hsm_signers_ready',
      'Signer processes that found their keys and signed with them.',
      () => sources.hsm().signersReady,
    );
    this.#single(
      'meshca_hsm_in_flight',
      'Requested signatures without an answer yet.',
      () => sources.hsm().inFlight,
    );
    this.#single(
      'meshca_hsm_respawns',
      'Signer processes respawned since start.',
      () => sources.hsm().respawns,
    );
    this.#single(
      'meshca_hsm_signatures',
      'Signatures since start.',
      () => sources.hsm().signatures,
    );
    this.#single(
      'meshca_hsm_chunks',
      'Hand-overs of signatures to a signer process since start.',
      () => sources.hsm().chunks,
    );
    this.#single('meshca_connections', 'Open connections.', sources.connections);
    this.#single('meshca_ready', '1 when the server is ready.', () => (sources.ready() ? 1 : 0));
  }

  /** The gauges of the audit log's tree, after it is open. */
  watchLog(log: {
    readonly size: number;
    readonly foreignRecords: number;
    readonly waitingSeconds: number;
    readonly sinceStart: { readonly unproven: boolean };
    readonly basis: {
      readonly snapshot: { readonly size: number; readonly timeMs: number } | undefined;
      readonly review: { readonly of: number; readonly checked: number };
      readonly damage: unknown;
    };
  }): void {
    this.#single(
      'meshca_audit_snapshot_timestamp_seconds',
      'When the newest snapshot of the audit log was made (Unix seconds); 0: a start reads the whole log.',
      () => (log.basis.snapshot?.timeMs ?? 0) / 1000,
    );
    this.#single(
      'meshca_audit_snapshot_records',
      'Records under the newest snapshot: a start reads those behind it.',
      () => log.basis.snapshot?.size ?? 0,
    );
    this.#single(
      'meshca_audit_review_records',
      'Records that the start has skipped because of a snapshot.',
      () => log.basis.review.of,
    );
    this.#single(
      'meshca_audit_review_checked_records',
      'How many of them were checked since.',
      () => log.basis.review.checked,
    );
    this.#single(
      'meshca_audit_damaged',
      '1: a record differs from the one that was signed, and nothing is signed any more: alert.',
      () => (log.basis.damage === undefined ? 0 : 1),
    );
    this.#single(
      'meshca_audit_waiting_seconds',
      'How long the oldest record without a checkpoint has waited: alert above 120.',
      () => log.waitingSeconds,
    );
    this.#single(
      'meshca_audit_unproven_since_start',
      '1: since the start no agent or witness has shown a checkpoint from before it, so ' +
        'that a database and checkpoint file that were put back together would not show.',
      () => (log.sinceStart.unproven ? 1 : 0),
    );
    this.#single('meshca_audit_tree_size', 'Records in the tree of the audit log.', () => log.size);
    this.#single(
      'meshca_audit_foreign_records',
      'Rows of the audit table found since start that no server wrote: alert on any.',
      () => log.foreignRecords,
    );
  }

  watchWitnesses(
    witnesses: readonly {
      readonly name: string;
      readonly cosignedSize: number;
      readonly failures: number;
    }[],
  ): void {
    this.#gauge(
      'meshca_audit_witness_size',
      'Records under the newest checkpoint that this witness cosigned since start.',
      'witness',
      () => Object.fromEntries(witnesses.map(({ name, cosignedSize }) => [name, cosignedSize])),
    );
    this.#gauge(
      'meshca_audit_witness_failures',
      'Checkpoints that this witness has not cosigned when asked, since start: alert where it grows.',
      'witness',
      () => Object.fromEntries(witnesses.map(({ name, failures }) => [name, failures])),
    );
  }

  watchCrls(crls: {
    standings(): readonly { readonly authorityId: string; readonly nextUpdate: number }[];
    set(): readonly { readonly der: Buffer }[];
  }): void {
    this.#gauge(
      'meshca_crl_next_update_timestamp_seconds',
      'When the first CRL of this authority ends (Unix seconds), 0 where one is missing.',
      'authority',
      () =>
        Object.fromEntries(
          crls.standings().map(({ authorityId, nextUpdate }) => [authorityId, nextUpdate]),
        ),
    );
    this.#single(
      'meshca_crl_bytes',
      'Bytes of the complete CRLs of the mesh together; above 3 MiB some workloads, above 12 MiB agents can not get them.',
      () => crls.set().reduce((sum, { der }) => sum + der.length, 0),
    );
    this.#single(
      'meshca_crls_handed_out',
      'CRLs in the set that goes to workloads; 0 while it is not complete.',
      () => crls.set().length,
    );
  }

  committed({ writes, seconds }: { readonly writes: number; readonly seconds: number }): void {
    this.#commits.observe(seconds);
    this.#writes.inc(writes);
  }

  doubled(how: string): void {
    this.#doubled.inc({ how });
  }

  notInLog(kind: string): void {
    this.#notInLog.inc({ kind });
  }

  authorityMoved(kind: string, to: string): void {
    this.#moves.inc({ kind, to });
  }

  issued(kind: string, seconds: number, tenant: string | undefined): void {
    this.#issued.inc({ kind });
    this.#duration.observe(seconds);
    if (tenant !== undefined) this.tenants.issued(tenant, seconds);
  }

  refused(code: string): void {
    this.#refused.inc({ code });
  }

  oldClient(front: string): void {
    this.#oldClients.inc({ front });
  }

  httpAnswered(plugin: string, status: number): void {
    this.#http.inc({ plugin, status });
  }

  httpRefused(listener: string, reason: string): void {
    this.#httpRefused.inc({ listener, reason });
  }

  call(method: string, code: string, seconds: number): void {
    this.#calls.inc({ method, code });
    this.#callDuration.observe({ method }, seconds);
  }

  #pending({ pendingOperations }: MetricSources): void {
    const of =
      (value: 'count' | 'oldestSeconds') => async (): Promise<Readonly<Record<string, number>>> =>
        Object.fromEntries(
          [...(await pendingOperations())].map(([kind, pending]) => [kind, pending[value]]),
        );
    this.#gauge(
      'meshca_pending_operations',
      'Operations under dual control that wait for approval, by kind (the RPC that was called).',
      'kind',
      of('count'),
    );
    this.#gauge(
      'meshca_pending_operation_age_seconds',
      'Age of the oldest operation of this kind that waits for approval.',
      'kind',
      of('oldestSeconds'),
    );
  }

  #single(name: string, help: string, value: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        this.set(value());
      },
    });
  }

  #gauge(
    name: string,
    help: string,
    label: string,
    values: () => Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>,
  ): void {
    new Gauge({
      name,
      help,
      labelNames: [label],
      registers: [this.registry],
      async collect() {
        this.reset();
        for (const [key, value] of Object.entries(await values()))
          this.set({ [label]: key }, value);
      },
    });
  }
}
