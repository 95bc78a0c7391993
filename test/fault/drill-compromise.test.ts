import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('a stolen intermediate: its leaves are replaced in the window, those who check CRLs refuse the thief first, and after the root everybody does', async () => {
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
