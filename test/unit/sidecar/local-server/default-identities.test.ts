import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import type { Peer } from '../../../../sidecar/attest/index.ts';
import { DefaultIdentities } from '../../../../sidecar/local-server/default-identities.ts';
import { entryOf } from '../../../support/local-server-fakes.ts';

const identity = (name: string) => {
  const entry = entryOf(name, `spiffe://td/${name}`, []);
  return { entry, spiffeId: SpiffeId.of(entry.spiffeId) };
};
const [a, b, c] = [identity('a'), identity('b'), identity('c')];

const caller = (pid: number, startTime = '1') => ({
  pid,
  peer: { image: { startTime } } as unknown as Peer,
});

const names = (defaults: DefaultIdentities, pid: number, identities = [a, b, c]): string =>
  defaults
    .ordered(caller(pid), identities)
    .map(({ entry }) => entry.id)
    .join('');

test('what a process was given as its default stays first, whatever is added, until it is gone', () => {
  const defaults = new DefaultIdentities();
  assert.equal(names(defaults, 1), 'abc');
  defaults.give(caller(1), b);
  assert.equal(names(defaults, 1), 'bac');
  assert.equal(names(defaults, 1, [b, c]), 'bc');
  assert.equal(names(defaults, 1, [a, c]), 'ac');
  assert.equal(names(defaults, 1), 'bac', 'nothing else was given meanwhile');
  defaults.give(caller(1), c);
  assert.equal(names(defaults, 1), 'cab');
});

test('another process has a default of its own, also one with the same process ID later', () => {
  const defaults = new DefaultIdentities();
  defaults.give(caller(1), b);
  assert.equal(names(defaults, 2), 'abc');
  const [first] = defaults.ordered(caller(1, '2'), [a, b]);
  assert.equal(first, a);
});

test('of very many processes the one that was given its default longest ago is forgotten', () => {
  const defaults = new DefaultIdentities();
  for (let pid = 1; pid <= 10_000; pid += 1) defaults.give(caller(pid), b);
  defaults.give(caller(1), b);
  defaults.give(caller(10_001), b);
  assert.deepEqual([names(defaults, 1), names(defaults, 2)], ['bac', 'abc']);
});
