import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { grantedBundles, namedTrustDomains } from '../../../../sidecar/ports/granted-bundles.ts';
import { bundleOf, entryOf } from '../../../support/local-server-fakes.ts';

const identity = (name: string, ...federatesWith: readonly string[]) => {
  const entry = entryOf(name, `spiffe://td.test/${name}`, [], { federatesWith });
  return { entry, spiffeId: SpiffeId.of(entry.spiffeId) };
};
const own = bundleOf('td.test');
const held = new Map(['c.test', 'a.test', 'b.test'].map((name) => [name, bundleOf(name)]));
const namesOf = (...identities: readonly ReturnType<typeof identity>[]): readonly string[] => [
  ...grantedBundles(identities, own, held).federated.keys(),
];

test('a caller gets the foreign bundles that its entries name, all of its identities together', () => {
  assert.deepEqual(namesOf(), []);
  assert.deepEqual(namesOf(identity('web')), []);
  assert.deepEqual(namesOf(identity('web', 'b.test'), identity('db', 'a.test', 'b.test')), [
    'a.test',
    'b.test',
  ]);
  assert.deepEqual(namesOf(identity('web', 'late.test')), [], 'there is no bundle of it yet');
  assert.deepEqual(namedTrustDomains([identity('web', 'late.test', 'a.test')]), [
    'a.test',
    'late.test',
  ]);
});

test('nothing takes the place of the own bundle', () => {
  const claimed = new Map([['td.test', bundleOf('td.test')]]);
  const granted = grantedBundles([identity('web', 'td.test')], own, claimed);
  assert.equal(granted.own, own);
  assert.equal(granted.federated.size, 0);
});
