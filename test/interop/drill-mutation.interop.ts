import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('no column of the schema grants anything when it is altered past the server', async () => {
  const { code, figures, stderr } = await runDrill('mutation', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.ok(figures.running > 100 && figures.plays > 20 && figures.granted > 5, stderr);
  assert.ok(figures.stopped > 0 && figures.stoppedGrants > 10, stderr);
});
