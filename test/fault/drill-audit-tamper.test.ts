import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('every way of touching the log is named, and who writes to the database mints nothing', async () => {
  const { code, figures, stderr } = await runDrill('audit-tamper', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.ok(figures.records > 300 && figures.checkpoints > 1);
  assert.equal(figures.named, figures.tampered);
  assert.equal(figures.signedForForged, 0);
  assert.equal(figures.refusedStarts, 3);
});
