import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { readCases, runCases } from '../../../../src/common/policy/cases.ts';
import { readPolicy } from '../../../../src/common/policy/file.ts';
import { decide } from '../../../../src/common/policy/index.ts';
import { fixturePath } from '../../../support/fixtures.ts';

/** A Monday without a freeze, for cases that state no time. */
const now = Date.parse('2026-11-30T09:30:00Z') / 1000;
const policy = unwrap(readPolicy(readFileSync(fixturePath('policy/mesh.yaml'), 'utf8')));
const cases = unwrap(readCases(readFileSync(fixturePath('policy/mesh.cases.yaml'), 'utf8'), now));

test('a policy of a mesh decides each case as stated, by the rule that is stated', async (context) => {
  assert.ok(cases.length >= 80, String(cases.length));
  assert.equal(new Set(cases.map(({ name }) => name)).size, cases.length);
  for (const each of cases)
    await context.test(each.name, () => {
      assert.notEqual(each.rule, undefined, 'the case states the rule');
      const [{ passed, verdict, trace } = assert.fail()] = runCases(policy, [each]);
      assert.ok(passed, JSON.stringify({ verdict, trace }));
    });
});

test('without any one of its rules a case is decided otherwise', () => {
  for (const { name } of policy.rules) {
    const without = { ...policy, rules: policy.rules.filter((rule) => rule.name !== name) };
    assert.ok(
      runCases(without, cases).some(({ passed }) => !passed),
      name,
    );
  }
});

test('the order of the rules changes no answer', () => {
  const reversed = { ...policy, rules: policy.rules.toReversed() };
  for (const { name, facts } of cases)
    assert.equal(decide(reversed, facts).allowed, decide(policy, facts).allowed, name);
});
