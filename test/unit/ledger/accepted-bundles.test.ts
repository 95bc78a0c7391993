import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AcceptedBundles } from '../../../src/ledger/accepted-bundles.ts';
import { Objects } from '../../../src/ledger/objects.ts';
import { contentOf, objectParts } from '../../../src/ledger/snapshot-parts.ts';

const record = (id: string, detail: object, sha256 = 'aa') => ({
  ...{ kind: 'foreign-bundle', id, sha256, act: 'federation.bundle-accepted', subject: id },
  detail: { relationship: 'r1', sequence: 1, receivedAt: 100, roots: ['01'], ...detail },
});
type Applied = Parameters<AcceptedBundles['apply']>[0];

test('the log tells the keys of the bundle accepted last, and what was lost in this relationship', () => {
  const accepted = new AcceptedBundles();
  const apply = (...args: Parameters<typeof record>) => accepted.apply(record(...args) as Applied);
  apply('a.test', { jwtKeys: ['k'] });
  apply('a.test', { sequence: 2, receivedAt: 200, lostJwtKeys: ['k'] });
  apply('a.test', { sequence: 3, receivedAt: 300 });
  const shrunk = { at: 200, sequence: 2, lostRoots: [], lostJwtKeys: ['k'] };
  assert.deepEqual(accepted.get('a.test'), {
    ...{ trustDomain: 'a.test', relationshipId: 'r1', sequence: 3, receivedAt: 300 },
    ...{ roots: ['01'], jwtKeys: [], shrunk },
  });
  apply('a.test', { relationship: 'r2', sequence: 1 });
  assert.equal(accepted.get('a.test')?.shrunk, undefined, 'another relationship begins anew');
  apply('a.test', {}, '');
  assert.equal(accepted.get('a.test'), undefined, 'it was deleted');
  apply('a.test', {});
  apply('a.test', { receivedAt: 'x' });
  assert.equal(accepted.get('a.test'), undefined, 'a record that states too little tells nothing');
});

test('a snapshot of the log keeps what was accepted', () => {
  const objects = new Objects();
  objects.apply(record('b.test', { lostRoots: ['02'] }) as Applied, 1);
  objects.apply(record('a.test', {}) as Applied, 2);
  const copy = new Objects();
  copy.restore(contentOf(objectParts(objects.copy())).objects);
  for (const name of ['a.test', 'b.test'])
    assert.deepEqual(copy.accepted.get(name), objects.accepted.get(name));
  assert.deepEqual([...objectParts(copy.copy())], [...objectParts(objects.copy())]);
});
