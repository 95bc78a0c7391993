import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('a root waits for a proxy that refuses it, and no proxy is without certificate meanwhile', async () => {
  const { code, figures, stderr } = await runDrill('sds', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.equal(figures.streams, 24);
  assert.equal(figures.refused, 4);
  // both secrets, the new roots, again after the restart, and a renewed certificate
  assert.ok(figures.secrets > 3 * figures.streams, JSON.stringify(figures));
});
