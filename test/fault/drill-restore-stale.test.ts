import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('a restored old backup signs nothing until an operator accepts it, and then the ban applies again', async () => {
  const { code, figures, stderr } = await runDrill('restore-stale', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.equal(figures.noticed, true);
  assert.ok(figures.lostRecords > 100);
  assert.equal(figures.banStands, true);
});
