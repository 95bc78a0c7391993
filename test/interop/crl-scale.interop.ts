import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('a new revocation among 20,000 is on the CRL of its shard, also after a start from the snapshot', async () => {
  const { code, figures, stderr } = await runDrill('crl-scale', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.deepEqual([figures['revoked'], figures['shards']], [20_000, 3], JSON.stringify(figures));
  assert.ok(figures['largestBytes'] < 600_000, JSON.stringify(figures));
});
