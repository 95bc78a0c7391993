import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('a new revocation among 5,000 has its OCSP answer, also after a start and while all are renewed', async () => {
  const { code, figures, stderr } = await runDrill('ocsp-scale', '--short', '--json');
  assert.equal(code, 0, stderr);
  const { renewed, left } = figures['renewal'];
  assert.equal(figures['leaves'], 5_000, JSON.stringify(figures));
  assert.ok(renewed >= 5_000 && left === 0, JSON.stringify(figures));
});
