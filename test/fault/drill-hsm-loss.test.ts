import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('signing resumes within 5 s of the loss of token, sessions or signers, without a wrong answer', async () => {
  const { code, figures, stderr } = await runDrill('hsm-loss', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.deepEqual(Object.keys(figures.cases), ['tokenAway', 'sessionsInvalidated', 'signerStopped', 'allSignersStopped', 'signerKilled', 'signersKilledAtLogin', 'allSignersKilled']);
  for (const each of Object.values(figures.cases) as { resumedSeconds: number }[]) assert.ok(each.resumedSeconds < 5);
  assert.ok(figures.cases.tokenAway.unavailable > 0);
  for (const answer of Object.keys(figures.answers)) assert.ok(['HSM_UNAVAILABLE', 'OVERLOADED'].includes(answer), answer);
});
