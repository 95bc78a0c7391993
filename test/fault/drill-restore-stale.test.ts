import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('a backup from before a ban and a rotation is noticed, signs nothing until it is accepted, and the ban stands again', async () => {
  const { code, figures, stderr } = await runDrill('restore-stale', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.equal(figures.noticed, true);
  assert.ok(figures.lostRecords > 100);
  assert.equal(figures.banStands, true);
});
