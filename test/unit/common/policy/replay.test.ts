import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { readPolicy } from '../../../../src/common/policy/file.ts';
import { PolicyReplay, type RecordedAct } from '../../../../src/common/policy/index.ts';

const policy = (...rules: readonly object[]) =>
  unwrap(readPolicy(JSON.stringify({ meshcaPolicy: 1, rules })));
const noRsa = policy(
  { name: 'all', effect: 'allow' },
  { name: 'no-rsa', effect: 'deny', keyTypes: ['rsa-2048'] },
);
const agent = 'spiffe://mesh.test/meshca/agent/n1';

const act = (over: Partial<RecordedAct> & { readonly detail?: object } = {}): RecordedAct => ({
  timeMs: 1_000_000,
  actor: agent,
  kind: 'certificate.issued',
  subject: 'spiffe://mesh.test/web',
  ...over,
  detail: {
    certificateKind: 'workload',
    profile: 'short-lived',
    callerClass: 'agent',
    keyType: 'rsa-2048',
    ttlSeconds: 3600,
    ...over.detail,
  },
});

function replayed(by: ReturnType<typeof policy>, ...acts: readonly (RecordedAct | undefined)[]) {
  const replay = new PolicyReplay(by);
  for (const [index, each] of acts.entries()) replay.add(index + 1, each);
  return { groups: replay.groups(), totals: replay.totals() };
}

test('what a policy would take is grouped by identity, caller and rule, the newest first', () => {
  const { groups, totals } = replayed(
    noRsa,
    act({ timeMs: 5000 }),
    act({ timeMs: 9000, subject: 'spiffe://mesh.test/db' }),
    act({ timeMs: 7000 }),
    act({ timeMs: 8000, detail: { keyType: 'ec-p256' } }),
    act({ timeMs: 8000, actor: 'uid:0', detail: { callerClass: 'local' } }),
  );
  assert.deepEqual(
    groups.map((group) => [group.identity.slice(18), group.caller, group.rule, group.count]),
    [
      ['/db', agent, 'no-rsa', 1],
      ['/web', 'uid:0', 'no-rsa', 1],
      ['/web', agent, 'no-rsa', 2],
    ],
  );
  const last = groups.at(-1);
  assert.deepEqual([last?.oldestMs, last?.newestMs, last?.newestRecord], [5000, 7000, 3]);
  assert.deepEqual([totals.records, totals.decided, totals.lost], [5, 5, 4]);
});

test('what was denied and would be allowed is told behind what is lost', () => {
  const refusal = act({
    kind: 'certificate.refused',
    timeMs: 9_000_000,
    detail: { code: 'POLICY_DENIED', keyType: 'ec-p256' },
  });
  const { groups, totals } = replayed(noRsa, refusal, act());
  assert.deepEqual(
    groups.map(({ change, rule }) => [change, rule]),
    [
      ['lost', 'no-rsa'],
      ['gained', 'all'],
    ],
  );
  assert.deepEqual([totals.lost, totals.gained], [1, 1]);
});

test('records without facts, with other facts, or without proof are counted and not guessed', () => {
  const older = { ...act(), detail: { certificateKind: 'workload', profile: 'short-lived' } };
  const agents = { ...act(), detail: { certificateKind: 'agent', profile: 'short-lived' } };
  const altered = act({ detail: { policyVersion: 1, policyFacts: 'f'.repeat(64) } });
  const { groups, totals } = replayed(noRsa, older, agents, altered, undefined);
  assert.deepEqual(groups, []);
  const { records, decided, older: unstated, differing, unproven } = totals;
  assert.deepEqual([records, decided, unstated, differing, unproven], [4, 0, 1, 1, 1]);
});

test('the number of groups is bounded, and what is beyond them is counted', () => {
  const acts = Array.from({ length: 10_003 }, (_, index) =>
    act({ subject: `spiffe://mesh.test/app/${index}` }),
  );
  const { groups, totals } = replayed(noRsa, ...acts);
  assert.deepEqual([groups.length, totals.lost, totals.ungrouped], [10_000, 10_003, 3]);
});
