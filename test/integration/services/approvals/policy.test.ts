import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDualWorld, switchOn, type DualWorld } from '../../../support/dual-control.ts';
import { codeOf } from '../../../support/server.ts';

let w: DualWorld;
const boss = 'spiffe://mesh.test/boss';
const policy = (...rules: readonly object[]): string =>
  JSON.stringify({ meshcaPolicy: 1, rules: [{ name: 'all', effect: 'allow' }, ...rules] });
const noBoss = policy({ name: 'no-boss', effect: 'deny', spiffeIds: [boss] });

before(async () => {
  w = await startDualWorld();
  await w.server.mint(boss);
  await w.server.mint('spiffe://mesh.test/web');
  await switchOn(w);
});
after(async () => w?.[Symbol.asyncDispose]());

const activate = (text: string, version: number): Promise<string> =>
  w.held(w.server.admin('Policies/ActivatePolicy', { text, version, reason: 'a test' }));

test('approvers of a policy see which live identities would lose their renewal', async () => {
  const id = await activate(noBoss, 0);
  const rival = await activate(policy(), 0);
  const { explanation } = await w.server.admin('Approvals/GetOperation', { id });
  assert.deepEqual(explanation.slice(1, 3), [
    '1 live identities with 1 of 2 live certificates would lose their renewal',
    `  ${boss} (workload, 1): rule no-boss denies it`,
  ]);
  assert.equal(await codeOf(w.server.mint(boss)), 'resolved');
  await w.approve(id, w.keys.alice, w.keys.bob);
  assert.equal(await codeOf(w.server.mint(boss)), 'POLICY_DENIED');
  // the version that it replaces is in force no more
  const late = await w.server.admin('Approvals/GetOperation', { id: rival });
  assert.match(late.explanation.join('\n'), /are not known: the policy is at version 1, not 0/);
});
