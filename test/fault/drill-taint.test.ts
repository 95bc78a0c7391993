import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('an intermediate tainted under load signs no more, and none of its leaves is missed', async () => {
  const { code, figures, stderr } = await runDrill('taint', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.equal(figures.rounds, 3);
  assert.ok(figures.receivedOfTainted > 100, JSON.stringify(figures));
});
