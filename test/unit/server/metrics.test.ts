import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ServerMetrics } from '../../../src/server/metrics.ts';

/** The lines of these metrics, without comments. */
async function linesOf(metrics: ServerMetrics, ...names: readonly string[]): Promise<string[]> {
  return (await metrics.registry.metrics())
    .split('\n')
    .filter((line) => names.some((name) => new RegExp(`^${name}[ {]`).test(line)))
    .sort();
}

const sources = {
  expiryHorizon: () => ({ server: 1_000, 'root 1': 2_000 }),
  hsm: () => ({
    status: 'degraded',
    signersReady: 1,
    signers: 2,
    respawns: 3,
    signatures: 40,
    chunks: 5,
    inFlight: 6,
  }),
  connections: () => 7,
  agentsConnected: () => 8,
  agentsRefusingBundle: () => 1,
  ready: () => true,
  certificatesByState: () => Promise.resolve({ issued: 9 }),
  targetsByState: () => ({ proven: 3 }),
  relationships: () => Promise.resolve([]),
  targetHolds: () => [{ group: 'edge', agentId: 'a', target: 'web', code: 'PROOF_MISSING' }],
  pendingOperations: () =>
    Promise.resolve(new Map([['BanAgent', { count: 2, oldestSeconds: 30 }]])),
};

test('the first hundred tenants have a series of their own, whatever their number', async () => {
  const metrics = new ServerMetrics();
  for (let n = 0; n < 120; n += 1) metrics.issued('workload', 1, `t${n}`);
  const lines = await linesOf(metrics, 'meshca_tenant_issuance_duration_seconds_count');
  assert.equal(lines.length, 101);
  assert.ok(lines.includes('meshca_tenant_issuance_duration_seconds_count{tenant="(others)"} 20'));
});

test('what happens is counted by its kind', async () => {
  const metrics = new ServerMetrics();
  metrics.issued('workload', 0.002, undefined);
  metrics.issued('workload', 9, 'shop');
  metrics.refused('RATE_LIMITED');
  metrics.call('/a/B', 'OK', 0.01);
  metrics.notInLog('entry');
  metrics.authorityMoved('root', 'active');
  metrics.httpAnswered('crl', 200);
  metrics.httpRefused('plain', 'full');
  metrics.committed({ writes: 3, seconds: 0.001 });
  assert.deepEqual(
    await linesOf(
      metrics,
      'meshca_certificates_issued_total',
      'meshca_issuance_duration_seconds_count',
      'meshca_issuance_refusals_total',
      'meshca_tenant_issuance_duration_seconds_count',
      'meshca_grpc_calls_total',
      'meshca_grpc_unary_duration_seconds_count',
      'meshca_objects_not_in_log_total',
      'meshca_authority_transitions_total',
      'meshca_http_requests_total',
      'meshca_http_connections_refused_total',
      'meshca_store_writes_total',
    ),
    [
      'meshca_authority_transitions_total{kind="root",to="active"} 1',
      'meshca_certificates_issued_total{kind="workload"} 2',
      'meshca_grpc_calls_total{method="/a/B",code="OK"} 1',
      'meshca_grpc_unary_duration_seconds_count{method="/a/B"} 1',
      'meshca_http_connections_refused_total{listener="plain",reason="full"} 1',
      'meshca_http_requests_total{plugin="crl",status="200"} 1',
      'meshca_issuance_duration_seconds_count 2',
      'meshca_issuance_refusals_total{code="RATE_LIMITED"} 1',
      'meshca_objects_not_in_log_total{kind="entry"} 1',
      'meshca_store_writes_total 3',
      'meshca_tenant_issuance_duration_seconds_count{tenant="shop"} 1',
    ],
  );
});

test('gauges ask their owner at each scrape, and forget what is gone', async () => {
  const metrics = new ServerMetrics();
  let pending = await sources.pendingOperations();
  metrics.watchServer({ ...sources, pendingOperations: () => Promise.resolve(pending) });
  const names = [
    'meshca_hsm_state',
    'meshca_pending_operations',
    'meshca_pending_operation_age_seconds',
  ];
  assert.deepEqual(await linesOf(metrics, ...names), [
    'meshca_hsm_state{state="closed"} 0',
    'meshca_hsm_state{state="degraded"} 1',
    'meshca_hsm_state{state="fatal"} 0',
    'meshca_hsm_state{state="open"} 0',
    'meshca_hsm_state{state="ready"} 0',
    'meshca_hsm_state{state="starting"} 0',
    'meshca_pending_operation_age_seconds{kind="BanAgent"} 30',
    'meshca_pending_operations{kind="BanAgent"} 2',
  ]);
  pending = new Map();
  assert.deepEqual(await linesOf(metrics, 'meshca_pending_operations'), []);
  assert.deepEqual(
    await linesOf(metrics, 'meshca_certificates', 'meshca_certificate_expiry_timestamp_seconds'),
    [
      'meshca_certificate_expiry_timestamp_seconds{name="root 1"} 2000',
      'meshca_certificate_expiry_timestamp_seconds{name="server"} 1000',
      'meshca_certificates{state="issued"} 9',
    ],
  );
  assert.deepEqual(await linesOf(metrics, 'meshca_targets', 'meshca_target_rollout_held'), [
    'meshca_target_rollout_held{group="edge",agent="a",target="web",code="PROOF_MISSING"} 1',
    'meshca_targets{state="proven"} 3',
  ]);
});

test('the audit log, its witnesses and the CRLs are shown as they are', async () => {
  const metrics = new ServerMetrics();
  const basis = { snapshot: undefined, review: { of: 10, checked: 4 }, damage: new Error('x') };
  metrics.watchLog({
    size: 12,
    foreignRecords: 1,
    sinceStart: { unproven: true },
    waitingSeconds: 2,
    basis,
  });
  metrics.watchWitnesses([{ name: 'w', cosignedSize: 11, failures: 3 }]);
  metrics.watchCrls({
    standings: () => [{ authorityId: 'a', nextUpdate: 5 }],
    set: () => [{ der: Buffer.alloc(3) }, { der: Buffer.alloc(4) }],
  });
  assert.deepEqual(await linesOf(metrics, 'meshca_audit_\\w+', 'meshca_crl\\w+'), [
    'meshca_audit_damaged 1',
    'meshca_audit_foreign_records 1',
    'meshca_audit_review_checked_records 4',
    'meshca_audit_review_records 10',
    'meshca_audit_snapshot_records 0',
    'meshca_audit_snapshot_timestamp_seconds 0',
    'meshca_audit_tree_size 12',
    'meshca_audit_unproven_since_start 1',
    'meshca_audit_waiting_seconds 2',
    'meshca_audit_witness_failures{witness="w"} 3',
    'meshca_audit_witness_size{witness="w"} 11',
    'meshca_crl_bytes 7',
    'meshca_crl_next_update_timestamp_seconds{authority="a"} 5',
    'meshca_crls_handed_out 2',
  ]);
});

test('denials of a policy are counted by rule, and names beyond a bound together', async () => {
  const metrics = new ServerMetrics();
  metrics.policy.denied('no-rsa');
  metrics.policy.denied('no-rsa');
  metrics.policy.denied('(none)');
  metrics.policy.failed('no-rsa');
  assert.deepEqual(
    await linesOf(metrics, 'meshca_policy_denials_total', 'meshca_policy_failures_total'),
    [
      'meshca_policy_denials_total{rule="(none)"} 1',
      'meshca_policy_denials_total{rule="no-rsa"} 2',
      'meshca_policy_failures_total{rule="no-rsa"} 1',
    ],
  );
  for (let index = 0; index < 1000; index += 1) metrics.policy.denied(`rule-${index}`);
  metrics.policy.denied('no-rsa');
  const lines = await linesOf(metrics, 'meshca_policy_denials_total');
  assert.equal(lines.length, 401);
  assert.ok(lines.includes('meshca_policy_denials_total{rule="(other)"} 602'), lines.at(-1));
  assert.ok(lines.includes('meshca_policy_denials_total{rule="no-rsa"} 3'));
});
