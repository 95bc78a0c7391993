import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('the root of names is rotated by time and cross-certificate: of 200 daily readers none is cut off', async () => {
  const { code, figures, stderr } = await runDrill('names-rotation', '--json');
  assert.equal(code, 0, stderr);
  assert.deepEqual(
    [figures['clients'], figures['cutOff'], figures['refusedHandshakes']],
    [200, 0, 0],
    JSON.stringify(figures),
  );
  assert.ok(figures['activatedAfterSeconds'] >= 3 * 86_400, JSON.stringify(figures));
});
