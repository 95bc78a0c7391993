import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';

test('tenants get their certificates by ACME, renew them, and one of them is offboarded', async () => {
  const { code, figures, stderr } = await runDrill('acme-tenants', '--short', '--json');
  assert.equal(code, 0, stderr);
  assert.equal(figures.issued.certificates, 10 * figures.tenants);
  assert.equal(figures.renewed.certificates, 10 * figures.tenants);
});
