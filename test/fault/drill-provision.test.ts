import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('servers that read files take new certificates and roots, and none of their clients is refused', async () => {
  const { code, figures, stderr } = await runDrill('provision', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.equal(figures.failed, 0);
  assert.deepEqual(figures.servers, ['nginx', 'haproxy', 'postgresql', 'redis']);
  // the first one, a renewal, new intermediate and roots, at each
  assert.ok(figures.certificates > 4 * figures.servers.length, JSON.stringify(figures));
  assert.ok(figures.handshakes > figures.certificates);
});
