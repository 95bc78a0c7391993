import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policySha256 } from '../../../src/common/policy/index.ts';
import { code, event, everyPage, start, type OpenStore } from './fixtures.ts';

const policy = (text: string) => ({
  text,
  sha256: policySha256(text),
  reason: 'why',
  activatedAt: start,
  activatedBy: 'uid:0',
});
const activated = event('issuance-policy.activated');

export function issuancePolicyCases(name: string, open: OpenStore): void {
  test(`${name}: versions of the policy are added one after the other, and stay`, async () => {
    await using opened = await open();
    const { issuancePolicies: policies } = opened.store;
    assert.deepEqual([policies.presentVersion(), await policies.present()], [0, undefined]);
    const first = await policies.activate(policy('a'), 0, activated);
    assert.equal(first.version, 1);
    await assert.rejects(policies.activate(policy('b'), 0, activated), code('CONFLICT'));
    await policies.activate(policy('b'), 1, activated);
    assert.equal(policies.presentVersion(), 2);
    const { store } = await opened.reopen();
    const again = store.issuancePolicies;
    assert.equal(again.presentVersion(), 2);
    assert.deepEqual(await again.present(), { ...policy('b'), version: 2 });
    assert.deepEqual(await again.byVersion(1), { ...policy('a'), version: 1 });
    await assert.rejects(again.byVersion(3), code('NOT_FOUND'));
    const listed = await everyPage((page) => again.list(page), 1);
    assert.deepEqual(
      listed.map(({ version }) => version),
      [2, 1],
    );
  });

  test(`${name}: a policy is present as the log has it, whatever its digest states`, async () => {
    await using opened = await open();
    const { issuancePolicies: policies } = opened.store;
    await policies.activate({ ...policy('a'), sha256: policySha256('b') }, 0, activated);
    await assert.rejects(policies.present(), code('OBJECT_NOT_IN_LOG'));
  });
}
