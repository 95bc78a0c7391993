import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import {
  BundleStore,
  FederatedBundles,
  rootsOnly,
  type FederatedDocument,
} from '../../../../sidecar/bundle/index.ts';
import { foreignDocument as documentOf } from '../../../support/foreign-bundle.ts';
import { createRoot } from '../../../support/test-pki.ts';

const own = TrustDomain.of('td.test');
const roots = ['a.test', 'b.test', 'c.test'].map((name) => createRoot(name));
const [a, b, c] = roots as [(typeof roots)[0], (typeof roots)[0], (typeof roots)[0]];

const stateOf = (bundles: FederatedBundles): Readonly<Record<string, number>> =>
  Object.fromEntries(
    [...bundles.bundles()].map(([name, { sequence }]) => [name, sequence] as const),
  );

const update = (
  bundles: FederatedBundles,
  names: readonly string[],
  ...documents: readonly FederatedDocument[]
): boolean => bundles.update({ trustDomains: names, bundles: documents });

test('what is named stays or is replaced, what is not named is withdrawn at once', () => {
  const bundles = new FederatedBundles(own, silentLogger);
  assert.ok(update(bundles, ['a.test'], documentOf('a.test', 1, [a])));
  const first = bundles.bundles().get('a.test');
  assert.deepEqual(first?.rootsDer, [a.certificateDer]);
  assert.equal(update(bundles, ['a.test']), false, 'nothing is new');
  assert.equal(update(bundles, ['a.test'], documentOf('a.test', 1, [a])), false);
  assert.ok(update(bundles, ['a.test', 'b.test'], documentOf('b.test', 4, [b])));
  assert.equal(bundles.bundles().get('a.test'), first, 'the same object until it changes');
  assert.ok(update(bundles, ['a.test', 'b.test'], documentOf('a.test', 2, [a, c])));
  assert.deepEqual(stateOf(bundles), { 'a.test': 2, 'b.test': 4 });
  assert.ok(update(bundles, ['b.test']));
  assert.deepEqual(stateOf(bundles), { 'b.test': 4 });
  assert.equal(update(bundles, ['a.test', 'b.test']), false, 'one that is withdrawn is forgotten');
  assert.ok(update(bundles, []));
  assert.deepEqual(stateOf(bundles), {});
});

test('a lower sequence is taken: the server decides, and a relationship may begin anew', () => {
  const bundles = new FederatedBundles(own, silentLogger);
  update(bundles, ['a.test'], documentOf('a.test', 9, [a]));
  assert.ok(update(bundles, ['a.test'], documentOf('a.test', 1, [c])));
  assert.deepEqual(bundles.bundles().get('a.test')?.rootsDer, [c.certificateDer]);
});

test('a broken bundle is told and not taken, and the last good one stays', () => {
  const bundles = new FederatedBundles(own, silentLogger);
  const broken = { trustDomain: 'a.test', bundleJson: '{"keys":[{"use":"x509-svid"}]}' };
  update(bundles, ['a.test', 'b.test'], broken, documentOf('b.test', 1, [b]));
  assert.deepEqual(stateOf(bundles), { 'b.test': 1 });
  assert.match(bundles.problems().get('a.test') ?? '', /exactly one certificate/);
  update(bundles, ['a.test', 'b.test']);
  assert.ok(bundles.problems().has('a.test'), 'until a good one comes');
  update(bundles, ['a.test', 'b.test'], documentOf('a.test', 2, [a]));
  assert.deepEqual([stateOf(bundles)['a.test'], bundles.problems().size], [2, 0]);
  update(bundles, ['a.test', 'b.test'], broken);
  assert.equal(stateOf(bundles)['a.test'], 2);
  assert.ok(bundles.problems().has('a.test'));
});

test('the own trust domain is never a foreign one, nor is what is no name or was not announced', () => {
  const bundles = new FederatedBundles(own, silentLogger);
  for (const name of ['td.test', 'TD.test', 'spiffe://a.test', 'a.test/b', ''])
    assert.equal(update(bundles, [name], documentOf(name, 1, [a])), false, name);
  assert.equal(update(bundles, [], documentOf('a.test', 1, [a])), false);
  assert.deepEqual(stateOf(bundles), {});
});

test('number and size of foreign bundles are bounded, and the first ones count', () => {
  const bundles = new FederatedBundles(own, silentLogger);
  const names = Array.from({ length: 101 }, (_, index) => `t${index}.test`);
  update(bundles, names, ...names.map((name) => documentOf(name, 1, [a])));
  assert.equal(bundles.bundles().size, 100);
  assert.match(bundles.problems().get('t100.test') ?? '', /too large/);
  const large = (name: string): FederatedDocument => ({
    ...documentOf(name, 1, [a]),
    bundleJson: documentOf(name, 1, [a]).bundleJson + ' '.repeat(900_000),
  });
  update(
    bundles,
    ['a.test', 'b.test', 'c.test'],
    large('a.test'),
    large('b.test'),
    large('c.test'),
  );
  assert.deepEqual(stateOf(bundles), { 'a.test': 1, 'b.test': 1 });
});

test('a bundle without room is taken as soon as there is room, and takes nobody else’s', () => {
  const bundles = new FederatedBundles(own, silentLogger);
  const large = (name: string, kilobytes: number, sequence = 1): FederatedDocument => ({
    trustDomain: name,
    bundleJson: documentOf(name, sequence, [a]).bundleJson + ' '.repeat(kilobytes * 1000),
  });
  const held = ['b.test', 'c.test', 'd.test'];
  update(bundles, held, large('b.test', 900), large('c.test', 500), large('d.test', 600));
  const all = ['a.test', ...held];
  assert.equal(update(bundles, all, large('a.test', 900)), false);
  assert.deepEqual(stateOf(bundles), { 'b.test': 1, 'c.test': 1, 'd.test': 1 });
  assert.match(bundles.problems().get('a.test') ?? '', /too large/);
  // one that grows beyond the room stays as it was
  assert.equal(update(bundles, all, large('c.test', 990, 2)), false);
  assert.deepEqual([stateOf(bundles)['c.test'], bundles.problems().size], [1, 2]);
  assert.equal(update(bundles, all, large('a.test', 900, 7)), false);
  // first those that are held, then the newest one of those that wait
  assert.ok(update(bundles, ['a.test', 'c.test', 'd.test']));
  assert.deepEqual(stateOf(bundles), { 'c.test': 2, 'd.test': 1 });
  assert.ok(update(bundles, ['a.test', 'c.test']));
  assert.deepEqual([stateOf(bundles), bundles.problems().size], [{ 'a.test': 7, 'c.test': 2 }, 0]);
  // what is named no more waits no more
  update(bundles, ['a.test', 'c.test', 'e.test'], large('e.test', 900));
  update(bundles, ['c.test']);
  assert.equal(update(bundles, ['c.test', 'e.test']), false);
  assert.deepEqual(stateOf(bundles), { 'c.test': 2 });
});

test('a change is durable before anyone is told, and does not touch the own bundle', async () => {
  const events: string[] = [];
  const store = new BundleStore(own, silentLogger, {
    own: async () => true,
    federated: async (documents) => {
      events.push(`kept ${documents.map(({ trustDomain }) => trustDomain).join()}`);
      return false;
    },
  });
  store.restore(rootsOnly([createRoot('td.test').certificateDer]));
  const before = store.current();
  store.onChange(() => events.push(`told ${[...store.federated().keys()].join()}`));
  const document = documentOf('a.test', 1, [a]);
  await store.updateFederated({ trustDomains: ['a.test'], bundles: [document] });
  await store.updateFederated({ trustDomains: ['a.test'], bundles: [document] });
  await store.updateFederated({ trustDomains: [], bundles: [] });
  assert.deepEqual(events, ['kept a.test', 'told a.test', 'kept ', 'told ']);
  assert.equal(store.current(), before);
});
