import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('a server killed at any step of a rotation goes on, and an actor without its lease does nothing', async () => {
  const { code, figures, stderr } = await runDrill('transition-kills', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.deepEqual(
    [figures.kills, figures.failedHandshakes, figures.secondServersRefused],
    [6, 0, 2],
  );
  assert.ok(figures.takeovers >= 5 && figures.writesRefused >= 4, JSON.stringify(figures));
});
