import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('an agent that slept through two rotations of the root comes back unattended, and its workload talks', async () => {
  const { code, figures, stderr } = await runDrill('absent', '--short', '--json', '--agents', '3');
  assert.equal(code, 0, stderr);
  assert.deepEqual([figures.asleep, figures.returned, figures.failedHandshakes], [1, 1, 0]);
});
