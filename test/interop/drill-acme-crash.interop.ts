import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('an ACME order ends right, whenever the server dies, the token is away or the disk is full', async () => {
  const { code, figures, stderr } = await runDrill('acme-crash', '--short', '--json');
  assert.equal(code, 0, stderr);
  const reached = Object.keys(figures.kills);
  for (const place of ['pending', 'validating', 'valid', 'finalizing', 'issued'])
    assert.ok(
      reached.some((each) => each.startsWith(place)),
      `${place}: ${JSON.stringify(figures)}`,
    );
  assert.ok(figures.issued >= figures.received && figures.received > 8, JSON.stringify(figures));
});
