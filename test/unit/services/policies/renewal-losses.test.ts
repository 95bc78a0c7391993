import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { readPolicy } from '../../../../src/common/policy/file.ts';
import type { AuditEvent } from '../../../../src/domain/index.ts';
import { renewAtMonotonicMs } from '../../../../sidecar/schedule/renewal.ts';
import { renewalShare, RenewalLosses } from '../../../../src/services/policies/renewal-losses.ts';

const policy = (...rules: readonly object[]) =>
  unwrap(readPolicy(JSON.stringify({ meshcaPolicy: 1, rules })));
const all = { name: 'all', effect: 'allow' };
const noWeb = { name: 'no-web', effect: 'deny', spiffeIds: ['spiffe://mesh.test/web'] };
const at = 1_000_000;

const leaf = (serial: string, detail: Record<string, string | number> = {}): AuditEvent => ({
  timeMs: at * 1000,
  actor: 'spiffe://mesh.test/meshca/agent/n1',
  kind: 'certificate.issued',
  subject: 'spiffe://mesh.test/web',
  detail: {
    serial,
    certificateKind: 'workload',
    profile: 'short-lived',
    callerClass: 'agent',
    keyType: 'ec-p256',
    ttlSeconds: 3600,
    notAfter: at + 3600,
    ...detail,
  },
});

function found(
  records: readonly AuditEvent[],
  {
    next = policy(all, noWeb),
    present,
    now = at + 60,
    revoked = '',
  }: {
    readonly next?: ReturnType<typeof policy>;
    readonly present?: ReturnType<typeof policy>;
    readonly now?: number;
    readonly revoked?: string;
  } = {},
) {
  const losses = new RenewalLosses({ present, next }, now, (serial) => serial === revoked);
  // the newest first
  for (const record of records.toReversed()) losses.add(record);
  return { losses: losses.losses(), totals: losses.totals() };
}

test('a live identity that the next policy denies is named, with its next renewal and its end', () => {
  const { losses, totals } = found([leaf('a1'), leaf('b1', { notAfter: at + 7200 })]);
  assert.deepEqual(losses, [
    {
      identity: 'spiffe://mesh.test/web',
      kind: 'workload',
      rule: 'no-web',
      certificates: 2,
      nextRenewal: at + 1200,
      liveUntil: at + 7200,
    },
  ]);
  assert.deepEqual(totals, { identities: 1, certificates: 2, live: 2, unknown: 0 });
});

test('what was replaced, has ended or was revoked is not live; what was withheld replaces nothing', () => {
  const withheld = { ...leaf('d1', { replaces: 'b1' }), kind: 'certificate.withheld' };
  const { totals } = found(
    [
      leaf('a1'),
      leaf('b1', { replaces: 'a1' }),
      leaf('c1', { notAfter: at + 30 }),
      leaf('e1'),
      withheld,
    ],
    { revoked: 'e1' },
  );
  assert.deepEqual(totals, { identities: 1, certificates: 1, live: 1, unknown: 0 });
});

test('what the policy in force denies already is no loss', () => {
  const { losses, totals } = found([leaf('a1')], { present: policy(all, noWeb) });
  assert.deepEqual([losses, totals.live], [[], 1]);
});

test('a renewal is decided at the time at which it is due', () => {
  const from = (seconds: number) => ({
    ...noWeb,
    validFrom: new Date(seconds * 1000).toISOString(),
  });
  const records = [leaf('a1')];
  assert.equal(found(records, { next: policy(all, from(at + 1200)) }).losses.length, 1);
  assert.equal(found(records, { next: policy(all, from(at + 1201)) }).losses.length, 0);
  const late = { next: policy(all, from(at + 1201)), now: at + 1201 };
  assert.equal(found(records, late).losses.length, 1);
});

test('a renewal is expected where agents plan it', () => {
  // the middle of its spread
  assert.equal(renewAtMonotonicMs(3600, 0, 0.5), Math.round(3_600_000 * renewalShare));
});

test('a live certificate whose record has no facts is counted as unknown', () => {
  const { detail, ...record } = leaf('a1');
  const { callerClass: _, ...older } = detail;
  const { totals } = found([{ ...record, detail: older }]);
  assert.deepEqual(totals, { identities: 0, certificates: 0, live: 0, unknown: 1 });
});
