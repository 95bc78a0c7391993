import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyDifferences } from '../../../../src/common/policy/differences.ts';

const policy = (rules: readonly object[], more: object = {}): string =>
  JSON.stringify({ meshcaPolicy: 1, ...more, rules });
const all = { name: 'all', effect: 'allow' };

test('rules that were added, removed and changed are told in words', () => {
  const before = policy([
    all,
    { name: 'old', effect: 'deny', kinds: ['admin'] },
    { name: 'prod', effect: 'allow', ttl: { max: '1h' }, keyTypes: ['ec-p256', 'rsa-2048'] },
  ]);
  const after = policy(
    [
      { name: 'fresh', effect: 'deny', message: 'no' },
      {
        name: 'prod',
        effect: 'deny',
        ttl: { max: '2h' },
        keyTypes: ['ec-p384', 'ec-p256'],
        entries: ['a'],
      },
      all,
    ],
    { description: 'wider' },
  );
  assert.deepEqual(policyDifferences(before, after), {
    words: ['description is new: wider'],
    rules: [
      { rule: 'old', change: 'removed', effect: 'deny', words: ['kinds: admin'] },
      {
        rule: 'prod',
        change: 'changed',
        effect: 'deny',
        words: [
          'effect was allow, and is deny',
          'ttl was max 1h, and is max 2h',
          'keyTypes has also ec-p384',
          'keyTypes has no longer rsa-2048',
          'entries is new: a',
        ],
      },
      { rule: 'fresh', change: 'added', effect: 'deny', words: ['message: no'] },
    ],
  });
});

test('the order of rules, lists and keys is no difference', () => {
  const rule = {
    name: 'a',
    effect: 'allow',
    kinds: ['admin', 'workload'],
    ttl: { min: 1, max: 9 },
  };
  const turned = {
    ttl: { max: 9, min: 1 },
    kinds: ['workload', 'admin'],
    effect: 'allow',
    name: 'a',
  };
  assert.deepEqual(policyDifferences(policy([all, rule]), policy([turned, all])), {
    words: [],
    rules: [],
  });
});

test('the built-in policy has no rules, and a policy with faults is refused', () => {
  assert.deepEqual(policyDifferences('', policy([all])).rules, [
    {
      rule: 'all',
      change: 'added',
      effect: 'allow',
      words: ['without conditions: it matches every request'],
    },
  ]);
  assert.throws(() => policyDifferences('', 'rules: {}'), { code: 'POLICY_INVALID' });
});
