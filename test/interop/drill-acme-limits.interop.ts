import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('a client over its limit of ACME is told so, is seen, and is helped; others go on', async () => {
  const { code, figures, stderr } = await runDrill('acme-limits', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.deepEqual(
    [figures.byQuota.signal, figures.byLimit.signal, figures.byQuota.issued],
    [1, 1, 4],
  );
});
