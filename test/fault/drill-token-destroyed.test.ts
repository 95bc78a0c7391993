import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('after the issuing token is destroyed, one command activates the standby, and no handshake fails', async () => {
  const { code, figures, stderr } = await runDrill('token-destroyed', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.ok(figures.signedSeconds < 60);
  assert.ok(figures.handshakes > 0);
  assert.equal(figures.failedHandshakes, 0);
});
