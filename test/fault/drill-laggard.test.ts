import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('an authority waits for named laggards until they read, expire, are forced aside, or the deadline', async () => {
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
