import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('leaves of a stolen intermediate are replaced in the window, and all consumers refuse the thief', async () => {
  const { code, figures, stderr } = await runDrill('compromise', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.equal(figures.failedHandshakes, 0);
  assert.ok(figures.refusedByCrlAfter < figures.rootReplacedAfter);
  assert.deepEqual(figures.refusedBy, {
    libraryIgnoringCrls: 'CHAIN_UNTRUSTED',
    openssl: true,
    node: true,
  });
});
