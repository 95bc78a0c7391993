import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('after a stolen key every holder has a new certificate, and no request fails', async () => {
  const { code, figures, stderr } = await runDrill('key-compromise', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.equal(figures.failed, 0);
  assert.ok(figures.handshakes > 0, JSON.stringify(figures));
});
