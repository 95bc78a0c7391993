import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('when the issuing token is destroyed under traffic, one command has the standby sign, and no handshake fails', async () => {
  const { code, figures, stderr } = await runDrill('token-destroyed', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.ok(figures.signedSeconds < 60);
  assert.ok(figures.handshakes > 0);
  assert.equal(figures.failedHandshakes, 0);
});
