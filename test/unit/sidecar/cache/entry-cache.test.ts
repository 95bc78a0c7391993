import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { parseSelector, TrustDomain, type Selector } from '../../../../src/common/spiffe/index.ts';
import { SyncedEntryCache } from '../../../../sidecar/cache/index.ts';
import type { AgentEntry } from '../../../../sidecar/ports/entries.ts';
import { entryOf, FakeClock } from '../../../support/agent.ts';
import { cpuMs } from '../../../support/cpu.ts';

const selectors = (...texts: readonly string[]): Selector[] =>
  texts.map((text) => unwrap(parseSelector(text)));
const cacheWith = (entries: readonly AgentEntry[], clock = new FakeClock()): SyncedEntryCache => {
  const cache = new SyncedEntryCache({
    trustDomain: TrustDomain.of('td'),
    clock,
    logger: silentLogger,
  });
  cache.applySnapshot(entries);
  return cache;
};
const ids = (cache: SyncedEntryCache, ...texts: readonly string[]): string[] =>
  cache.match(selectors(...texts)).map(({ spiffeId }) => spiffeId.toString());

test('an entry matches only a process that has all its selectors', () => {
  const cache = cacheWith([
    entryOf('a', ['unix:uid:1', 'unix:gid:1']),
    entryOf('b', ['unix:uid:1']),
  ]);
  assert.deepEqual(ids(cache, 'unix:uid:1', 'unix:gid:1', 'unix:path:/x'), [
    'spiffe://td/a',
    'spiffe://td/b',
  ]);
  assert.deepEqual(ids(cache, 'unix:uid:1'), ['spiffe://td/b']);
  assert.deepEqual(ids(cache, 'unix:gid:1'), []);
  assert.deepEqual(ids(cache), []);
});

test('matches come in the order of creation, and those of older releases by time and ID before', () => {
  const cache = cacheWith([
    { ...entryOf('a', ['unix:uid:1']), createdOrder: 65_537 },
    { ...entryOf('b', ['unix:uid:1']), createdAt: 5 },
    { ...entryOf('c', ['unix:uid:1']), createdOrder: 65_536, createdAt: 9 },
  ]);
  assert.deepEqual(ids(cache, 'unix:uid:1'), ['spiffe://td/b', 'spiffe://td/c', 'spiffe://td/a']);
});

test('matches of older releases come oldest first, then by ID', () => {
  const cache = cacheWith([
    { ...entryOf('z', ['unix:uid:1']), createdAt: 5 },
    { ...entryOf('y', ['unix:uid:1']), createdAt: 9 },
    { ...entryOf('x', ['unix:uid:1']), createdAt: 5 },
  ]);
  assert.deepEqual(ids(cache, 'unix:uid:1'), ['spiffe://td/x', 'spiffe://td/z', 'spiffe://td/y']);
});

test('an entry without selectors, in another trust domain or with a reserved ID is never given out', () => {
  const cache = cacheWith([
    entryOf('a', []),
    { ...entryOf('b', ['unix:uid:1']), spiffeId: 'spiffe://other/b' },
    { ...entryOf('c', ['unix:uid:1']), spiffeId: 'spiffe://td/meshca/server' },
    { ...entryOf('d', ['unix:uid:1']), spiffeId: 'nonsense' },
    { ...entryOf('e', ['unix:uid:1']), spiffeId: 'spiffe://td' },
    { ...entryOf('f', ['unix:uid:1']), spiffeId: 'spiffe://td/{unix.user', isTemplate: true },
  ]);
  assert.equal(cache.size(), 0);
  assert.deepEqual(ids(cache, 'unix:uid:1'), []);
});

test('an expired entry matches no more, and its expiry is announced as a change', () => {
  const clock = new FakeClock();
  const cache = cacheWith(
    [{ ...entryOf('a', ['unix:uid:1']), expiresAt: clock.now() + 10 }],
    clock,
  );
  let changes = 0;
  cache.onChange(() => {
    changes += 1;
  });
  assert.equal(ids(cache, 'unix:uid:1').length, 1);
  clock.advance(10_002);
  assert.equal(changes, 1);
  assert.equal(ids(cache, 'unix:uid:1').length, 0);
});

test('a template is filled from the selectors and left out where it can not be', () => {
  const entry: AgentEntry = {
    ...entryOf('t', ['unix:group:dev']),
    spiffeId: 'spiffe://td/user/{unix.user}',
    isTemplate: true,
    placeholders: new Map([['unix.user', ['alice']]]),
  };
  const cache = cacheWith([entry]);
  assert.deepEqual(ids(cache, 'unix:group:dev', 'unix:user:alice'), ['spiffe://td/user/alice']);
  assert.deepEqual(ids(cache, 'unix:group:dev', 'unix:user:mallory'), []);
});

test('costly facts are wanted only where every other selector matches', () => {
  const cache = cacheWith([
    entryOf('a', ['unix:uid:1', 'unix:sha256:aa']),
    entryOf('b', ['unix:uid:2', 'unix:path:/x', 'unix:sha256:bb']),
  ]);
  const wanted = (...texts: readonly string[]): string[] => [
    ...cache.wanted(selectors(...texts), ['unix:sha256']),
  ];
  assert.deepEqual(wanted('unix:uid:1'), ['unix:sha256']);
  assert.deepEqual(wanted('unix:uid:2'), []);
  assert.deepEqual(wanted('unix:uid:2', 'unix:path:/x'), ['unix:sha256']);
  assert.deepEqual(wanted('unix:uid:3'), []);
  cache.applyChanges([], ['a']);
  assert.deepEqual(wanted('unix:uid:1'), []);
  cache.applyChanges([entryOf('c', ['unix:sha256:cc'])], []);
  assert.deepEqual(wanted('unix:uid:9'), ['unix:sha256'], 'an entry of hashes alone always asks');
});

test('near misses name what matched and what missed, the closest first', () => {
  const cache = cacheWith([
    entryOf('a', ['unix:uid:1', 'unix:gid:2']),
    entryOf('b', ['unix:uid:1', 'unix:gid:1', 'unix:path:/x']),
    entryOf('c', ['unix:uid:1']),
  ]);
  const misses = cache.nearMisses(selectors('unix:uid:1', 'unix:gid:1'), 5);
  assert.deepEqual(
    misses.map(({ entry, missed }) => [entry.id, ...missed]),
    [
      ['b', 'unix:path:/x'],
      ['a', 'unix:gid:2'],
    ],
  );
});

test('after any run of snapshots and changes a match equals a scan of what is held', () => {
  const selector: fc.Arbitrary<string> = fc.constantFrom(
    'unix:uid:1',
    'unix:uid:2',
    'unix:gid:1',
    'unix:gid:2',
    'unix:path:/a',
    'unix:sha256:x',
  );
  const entry = fc.record({
    id: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    of: fc.uniqueArray(selector, { minLength: 1, maxLength: 4 }),
  });
  const step = fc.record({
    snapshot: fc.boolean(),
    upserts: fc.array(entry, { maxLength: 4 }),
    removed: fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 2 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 8 }), fc.uniqueArray(selector), (steps, texts) => {
      const cache = cacheWith([]);
      const held = new Map<string, readonly string[]>();
      for (const { snapshot, upserts, removed } of steps) {
        const entries = upserts.map(({ id, of }) => entryOf(id, of));
        if (snapshot) {
          held.clear();
          cache.applySnapshot(entries);
        } else {
          for (const id of removed) held.delete(id);
          cache.applyChanges(entries, removed);
        }
        for (const { id, of } of upserts) held.set(id, of);
      }
      const expected = [...held]
        .filter(([, of]) => of.every((text) => texts.includes(text)))
        .map(([id]) => id)
        .sort();
      assert.deepEqual(
        cache
          .match(selectors(...texts))
          .map(({ entry: each }) => each.id)
          .sort(),
        expected,
      );
      const wanted = [...held].some(
        ([, of]) =>
          of.includes('unix:sha256:x') &&
          of.every((text) => text === 'unix:sha256:x' || texts.includes(text)),
      );
      assert.equal(cache.wanted(selectors(...texts), ['unix:sha256']).has('unix:sha256'), wanted);
    }),
    { numRuns: 200 },
  );
});

test('a match over 20,000 entries costs far less than a scan', () => {
  const cache = cacheWith(
    Array.from({ length: 20_000 }, (_, index) =>
      entryOf(`e${index}`, [`unix:uid:${index}`, 'unix:group:all', `unix:gid:${index % 7}`]),
    ),
  );
  const process = selectors('unix:uid:777', 'unix:group:all', 'unix:gid:0', 'unix:path:/x');
  cache.match(process);
  const started = cpuMs();
  for (let round = 0; round < 1000; round += 1) cache.match(process);
  assert.equal(cache.match(process).length, 1);
  // a scan takes some milliseconds each
  assert.ok(cpuMs() - started < 1_000, 'below a millisecond each');
});

test('an entry for names gives nobody an identity, and is there for its file target alone', () => {
  for (const profile of ['short', 'classic']) {
    const cache = cacheWith([
      entryOf('names', ['target:name:web'], { profile, dnsNames: ['www.shop.test'] }),
      entryOf('process', ['unix:uid:1'], { profile, dnsNames: ['www.shop.test'] }),
      entryOf('both', ['unix:uid:1', 'target:name:web'], { profile }),
      entryOf('mesh', ['target:name:web']),
    ]);
    assert.deepEqual(ids(cache, 'unix:uid:1', 'target:name:web'), ['spiffe://td/mesh']);
    assert.deepEqual(
      cache.ofTarget('web').map(({ entry }) => entry.id),
      ['mesh', 'names'],
    );
    assert.deepEqual(cache.ofTarget('db'), []);
    assert.equal(cache.identityFor('names', selectors('target:name:web')), undefined);
    assert.equal(cache.identityFor('process', selectors('unix:uid:1')), undefined);
    assert.deepEqual(
      cache.nearMisses(selectors('unix:uid:2'), 10).map(({ entry }) => entry.id),
      ['mesh'],
    );
    // it may become one for an identity, and back
    cache.applyChanges([entryOf('names', ['unix:uid:1'])], []);
    assert.deepEqual(ids(cache, 'unix:uid:1'), ['spiffe://td/names']);
    cache.applyChanges([entryOf('names', ['unix:uid:1'], { profile })], []);
    assert.deepEqual(ids(cache, 'unix:uid:1'), []);
  }
});
