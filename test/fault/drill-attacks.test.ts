import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('strangers and neighbours pay for their attacks, and honest callers are answered before they end', async (context) => {
  const { code, figures, stderr } = await runDrill('attacks', '--short', '--json');
  for (const line of stderr.split('\n')) context.diagnostic(line);
  assert.equal(code, 0, stderr);
  assert.equal(figures.rows.length, 9);
  for (const { attack, tried, ratio } of figures.rows) assert.ok(tried > 0 && ratio >= 0, attack);
});
