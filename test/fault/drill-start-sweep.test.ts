import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('around the end of each authority a server starts, signs nothing past it, and says what helps', async () => {
  const { code, figures, stderr } = await runDrill('start-sweep', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.ok(figures.starts >= 15);
});
