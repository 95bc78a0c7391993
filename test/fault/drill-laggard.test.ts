import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('a stopped workload and a stopped agent hold an authority up by name, until they read, can not come back, are forced aside, or the deadline passes', async () => {
  const { code, figures, stderr } = await runDrill('laggard', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.ok(
    figures.resumedToActiveSeconds > 0 &&
      figures.agentResumedToActiveSeconds > 0 &&
      figures.killedLeftOutAfterSeconds >= 0 &&
      figures.deadlineSeconds > 0,
    JSON.stringify(figures),
  );
  assert.equal(figures.failedHandshakes, 0);
});
