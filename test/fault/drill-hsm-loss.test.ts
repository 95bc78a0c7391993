import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

// in under 5 s where a person runs the drill; here it has to resume by itself, however slow the
// machine
test('signing resumes after the loss of token, sessions or signers, without restart or wrong answer', async () => {
  const { code, figures, stderr } = await runDrill('hsm-loss', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.deepEqual(Object.keys(figures.cases), [
    'tokenAway',
    'sessionsInvalidated',
    'signerStopped',
    'allSignersStopped',
    'signerKilled',
    'signersKilledAtLogin',
    'allSignersKilled',
  ]);
  for (const each of Object.values(figures.cases) as { certificates: number }[])
    assert.ok(each.certificates > 0);
  assert.ok(figures.cases.tokenAway.unavailable > 0);
  for (const answer of Object.keys(figures.answers))
    assert.ok(['HSM_UNAVAILABLE', 'OVERLOADED'].includes(answer), answer);
});
