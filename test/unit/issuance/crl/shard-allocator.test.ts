import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leavesPerShard, type CrlShard } from '../../../../src/domain/index.ts';
import { ShardAllocator } from '../../../../src/issuance/index.ts';
import { CrlShards, type ShardLeaf } from '../../../../src/ledger/crl-shards.ts';

const start = 1_900_000_000;
const urlOf = (id: string, shard: number): string => `http://ca/${id}/${shard}.crl`;

/** Processes one after another over one log, which learns of each leaf or of none. */
function world(mostLeaves?: number) {
  const log = { shards: new CrlShards(), restoredMs: 0, base: 'http://ca', now: start };
  const begin = (): ShardAllocator =>
    new ShardAllocator({
      shards: (id) => log.shards.of(id),
      url: (id, shard) => (log.base === '' ? undefined : `${log.base}/${id}/${shard}.crl`),
      restoredMs: () => log.restoredMs,
      clock: { now: () => log.now },
      ...(mostLeaves === undefined ? {} : { mostLeaves }),
    });
  const issue = (allocator: ShardAllocator, { recorded = true, notAfter = start + 60 } = {}) => {
    const assigned = allocator.assign('a');
    assert.ok(assigned !== undefined);
    const { shard, url, isNew } = assigned;
    const leaf: ShardLeaf = { authorityId: 'a', shard, notAfter, url: isNew ? url : '' };
    if (recorded) log.shards.applyLeaf(leaf);
    return assigned;
  };
  return { log, begin, issue };
}

const perShard = (shards: readonly { readonly shard: number }[]): readonly number[] => [
  ...shards
    .reduce(
      (counts, { shard }) => counts.set(shard, (counts.get(shard) ?? 0) + 1),
      new Map<number, number>(),
    )
    .values(),
];

test('a shard holds 10,000 leaves, and the next one is open when half of them are issued', () => {
  const { begin, issue } = world();
  const allocator = begin();
  let opened = 0;
  allocator.onOpened(() => (opened += 1));
  const issued = Array.from({ length: leavesPerShard / 2 - 1 }, () => issue(allocator));
  assert.equal(allocator.open('a').length, 1);
  issued.push(issue(allocator));
  const [current, next] = allocator.open('a');
  assert.deepEqual([current?.shard, (next?.shard ?? 0) > start], [start, true]);
  while (issued.length < 2 * leavesPerShard + 1) issued.push(issue(allocator));
  assert.deepEqual(perShard(issued), [leavesPerShard, leavesPerShard, 1]);
  const urls = new Set(issued.map(({ shard, url }) => url === urlOf('a', shard)));
  assert.deepEqual([...urls], [true]);
});

test('a process that starts again goes on where the log ends, and never above the limit', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const { log, begin, issue } = world(5);
    let state = seed;
    const random = (below: number): number => {
      state = (state * 48_271) % 2_147_483_647;
      return state % below;
    };
    let allocator = begin();
    for (let step = 0; step < 60; step += 1) {
      const what = random(10);
      log.now += random(3);
      if (what === 0) allocator = begin();
      else if (what === 1) issue(allocator, { recorded: false });
      else if (what === 2) allocator.prepare('a');
      else issue(allocator);
      const shards = log.shards.of('a');
      assert.ok(
        shards.every(({ leaves }) => leaves <= 5),
        `seed ${seed}`,
      );
    }
    const urls = log.shards.of('a').map(({ shard, url }) => url === urlOf('a', shard));
    assert.ok(urls.every(Boolean), 'the log states the URL of each');
  }
});

test('the URL is in the record of a leaf until some record states it', () => {
  const { log, begin, issue } = world();
  const allocator = begin();
  assert.deepEqual(
    [issue(allocator, { recorded: false }), issue(allocator), issue(allocator)].map(
      ({ isNew }) => isNew,
    ),
    [true, true, false],
  );
  assert.equal(log.shards.of('a')[0]?.url, urlOf('a', start));
});

test('after a restore no shard of before gets a leaf, and none after another base URL', () => {
  const { log, begin, issue } = world();
  const allocator = begin();
  const { shard } = issue(allocator);
  log.now += 10;
  log.restoredMs = log.now * 1000 - 1;
  const after = issue(allocator);
  assert.equal(after.shard, log.now, 'the same process');
  assert.equal(issue(begin()).shard, after.shard);
  log.base = 'http://other';
  log.now += 10;
  const other = issue(begin());
  assert.equal(other.shard, log.now);
  assert.equal(other.url, `http://other/a/${other.shard}.crl`);
  assert.ok(shard < after.shard && after.shard < other.shard);
  log.base = '';
  assert.equal(begin().assign('a'), undefined);
  assert.deepEqual(begin().prepare('a'), []);
});

test('a shard ends with its last leaf, and an open one that is empty is filled first', () => {
  const { log, begin, issue } = world(4);
  const allocator = begin();
  issue(allocator, { notAfter: start + 500 });
  issue(allocator, { notAfter: start + 90 });
  const ends = (): readonly CrlShard['lastNotAfter'][] =>
    log.shards.of('a').map(({ lastNotAfter }) => lastNotAfter);
  assert.deepEqual(ends(), [start + 500]);
  const [, spare] = allocator.open('a');
  // its CRL is on record before a leaf names it
  log.shards.applyCrl({
    ...{ kind: 'crl', id: `a/${spare?.shard}`, sha256: 'ab', act: 'crl.signed', subject: 'a' },
    detail: { shard: spare?.shard ?? 0, url: spare?.url ?? '' },
  });
  const later = begin();
  const numbersOf = (open: readonly { readonly shard: number }[]) => open.map(({ shard }) => shard);
  assert.deepEqual(numbersOf(later.prepare('a')), numbersOf(allocator.open('a')));
  const numbers = Array.from({ length: 3 }, () => issue(later).shard);
  assert.deepEqual(numbers, [start, start, spare?.shard]);
  assert.deepEqual(ends(), [start + 500, start + 60]);
});

test('a place that was given back is used again, but none of a shard that is full', () => {
  const { begin, issue } = world(4);
  const allocator = begin();
  const [first] = [issue(allocator), issue(allocator)];
  const refused = allocator.assign('a');
  assert.equal(refused?.shard, first?.shard);
  allocator.giveBack('a', first?.shard ?? 0);
  const issued = [issue(allocator), issue(allocator)];
  assert.deepEqual(perShard([...issued]), [2], 'the shard holds four');
  const later = issue(allocator);
  assert.notEqual(later.shard, first?.shard);
  allocator.giveBack('a', first?.shard ?? 0);
  assert.equal(issue(allocator).shard, later.shard, 'no shard is opened again');
});
