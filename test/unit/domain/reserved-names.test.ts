import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  linkerdName,
  linkerdServingName,
  linkerdSuffix,
  reservationOf,
} from '../../../src/domain/index.ts';

const plane = { namespace: 'linkerd', trustDomain: 'cluster.local' } as const;
const suffix = linkerdSuffix(plane);
const reserved = ['ca.mesh.test', `*.${suffix}`];

test('the names of the proxies of a control plane are reserved at any depth, and their suffix too', () => {
  const name = linkerdName(plane, { namespace: 'shop', serviceAccount: 'web.v2' });
  assert.equal(name, 'web.v2.shop.serviceaccount.identity.linkerd.cluster.local');
  for (const covered of [
    name,
    suffix,
    `x.${suffix}`,
    name.toUpperCase(),
    linkerdServingName(plane),
  ])
    assert.equal(reservationOf(covered, reserved), `*.${suffix}`, covered);
  for (const free of [`x${suffix}`, `${suffix}.test`, 'identity.linkerd.cluster.local', 'web.test'])
    assert.equal(reservationOf(free, reserved), undefined, free);
});

test('a name of the CA is reserved in any case of its letters, and what is below it is not', () => {
  assert.equal(reservationOf('CA.mesh.test', reserved), 'ca.mesh.test');
  assert.equal(reservationOf('www.ca.mesh.test', reserved), undefined);
});

test('a pattern is reserved if all its names are', () => {
  assert.ok(reservationOf(`*.shop.${suffix}`, reserved) !== undefined);
  assert.equal(reservationOf('*.*.*.identity.linkerd.cluster.local', reserved), undefined);
});
