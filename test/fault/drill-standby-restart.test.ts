import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('a server with a standby token starts again in every state as long as one of its tokens is there', async () => {
  const { code, figures, stderr } = await runDrill('standby-restart', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.ok(figures.starts >= 12);
});
