import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('one command rotates intermediate and root under mTLS traffic without a failed handshake', async () => {
  const { code, figures, stderr } = await runDrill('rotate-all', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.equal(figures.failedHandshakes, 0);
  assert.ok(figures.handshakes > 2 * figures.workloads);
  assert.deepEqual(
    figures.rotations.map(({ kind }: { kind: string }) => kind),
    ['issuing', 'root', 'issuing'],
  );
  assert.equal(figures.verifiedByOpenssl, figures.workloads);
});
