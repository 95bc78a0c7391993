import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('an ACME order ends right, whenever the server dies, the token is away or the disk is full', async () => {
  const { code, figures, stderr } = await runDrill('acme-crash', '--short', '--json');
  assert.equal(code, 0, stderr);
  // the commits of other work of the server decide which of them a kill meets
  const reached = Object.keys(figures.kills);
  assert.ok(reached.length > 6, JSON.stringify(figures));
  for (const step of ['prepared', 'intents-durable', 'signed', 'recorded'])
    assert.ok(
      reached.some((each) => each.startsWith(step)),
      `${step}: ${JSON.stringify(figures)}`,
    );
  assert.ok(figures.issued >= figures.received && figures.received > 8, JSON.stringify(figures));
});
