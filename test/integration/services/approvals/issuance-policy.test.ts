import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDualWorld, switchOn, type DualWorld } from '../../../support/dual-control.ts';
import { codeOf, testTrustDomain } from '../../../support/server.ts';

const td = `spiffe://${testTrustDomain}`;
let world: DualWorld;
before(async () => {
  world = await startDualWorld();
  await switchOn(world);
});
after(() => world?.[Symbol.asyncDispose]());

const textOf = (...rules: readonly object[]): string => JSON.stringify({ meshcaPolicy: 1, rules });
const all = { name: 'all', effect: 'allow' };
const noBoss = { name: 'no-boss', effect: 'deny', when: 'request.path[0] == "boss"' };
const activate = (text: string, version: number): Promise<unknown> =>
  world.server.admin('Policies/ActivatePolicy', { text, version, reason: 'a test' });
const minted = (path: string): Promise<string> => codeOf(world.server.mint(`${td}${path}`));
const present = async (): Promise<number> =>
  (await world.server.admin('Policies/GetPolicy', { version: 0 })).version as number;

test('under dual control an activation is held, approved, and then in force', async () => {
  const { server, keys } = world;
  const id = await world.held(activate(textOf(noBoss, all), 0));
  assert.equal(await present(), 0);
  assert.notEqual(await minted('/boss'), 'POLICY_DENIED');
  const shown = JSON.stringify(await server.admin('Approvals/GetOperation', { id }));
  assert.match(shown, /rule no-boss/);
  assert.match(shown, /request\.path/);
  await world.approve(id, keys.alice);
  assert.equal(await present(), 0);
  await world.approve(id, keys.bob);
  assert.equal(await present(), 1);
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
  await server.restart();
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
});

test('an activation that was held over an older version fails once another is in force', async () => {
  const { keys } = world;
  const late = await world.held(activate(textOf(all), 1));
  const first = await world.held(activate(textOf({ ...noBoss, name: 'still-no-boss' }, all), 1));
  await world.approve(first, keys.alice, keys.carol);
  assert.equal(await present(), 2);
  const failed = await world.approve(late, keys.alice, keys.carol);
  assert.equal(failed.operation?.status, 'failed');
  assert.equal(await present(), 2);
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
});

test('an approved policy with faults fails, and changes nothing', async () => {
  const { keys } = world;
  const faulty = textOf({ ...noBoss, when: 'request.pth[0] == "boss"' });
  const id = await world.held(activate(faulty, 2));
  assert.equal((await world.approve(id, keys.bob, keys.carol)).operation?.status, 'failed');
  assert.equal(await present(), 2);
  assert.equal(await minted('/boss'), 'POLICY_DENIED');
});
