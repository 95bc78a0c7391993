import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { Revocation } from '../../../src/domain/index.ts';
import { CrlShards } from '../../../src/ledger/crl-shards.ts';
import { emptyMemory } from '../../../src/ledger/memory.ts';
import { readEntries } from '../../../src/ledger/revoked-entries.ts';
import { Revoked } from '../../../src/ledger/revoked.ts';
import { contentOf, objectParts, shardParts } from '../../../src/ledger/snapshot-parts.ts';
import { FakeClock } from '../../support/agent.ts';

const serialOf = (index: number): string =>
  createHash('sha256').update(String(index)).digest('hex').slice(0, 32);
const revocation = (index: number, over: Partial<Revocation> = {}): Revocation => ({
  serial: serialOf(index),
  authorityId: `a${index % 3}`,
  reason: index % 2 === 0 ? 'keyCompromise' : 'unspecified',
  revokedAt: 1_900_000_000 + index,
  revokedBy: `uid:${index % 4}`,
  notAfter: 1_900_100_000 + index,
  shard: index % 5,
  ...over,
});

test('each revocation is found by its serial, in its shard, and as an entry of its CRL', () => {
  const revoked = new Revoked();
  const all = Array.from({ length: 40_000 }, (_, index) => revocation(index));
  for (const each of all) assert.equal(revoked.add(each), true);
  assert.equal(revoked.size, all.length);
  for (const each of all) assert.deepEqual(revoked.get(each.serial), each);
  assert.equal(revoked.get(serialOf(-1)), undefined);
  for (const text of ['', 'x', 'ABCD', 'abc', 'ab'.repeat(21)])
    assert.equal(revoked.has(text), false);
  const scope = { authorityId: 'a1', shard: 2 };
  const expected = all.filter(({ authorityId, shard }) => authorityId === 'a1' && shard === 2);
  assert.deepEqual([...revoked.of(scope)], expected);
  assert.equal(revoked.mark(scope).length, expected.length);
  const entries = [...readEntries([...revoked.entries(scope, expected[9]?.notAfter ?? 0)])];
  assert.deepEqual(
    entries,
    expected
      .slice(9)
      .map(({ serial, revokedAt, reason }) => ({ serialHex: serial, revokedAt, reason })),
  );
  const { length } = revoked.extent();
  assert.equal(length, all.length);
  const later = [revocation(40_003), revocation(40_004)];
  for (const each of later) revoked.add(each);
  assert.deepEqual([...revoked.between('a1', length, length + 9)], [later[0]]);
  const ofAuthority = [...all, ...later].filter(({ authorityId }) => authorityId === 'a1');
  assert.equal([...revoked.of({ authorityId: 'a1', shard: 'all' })].length, ofAuthority.length);
  assert.deepEqual([...revoked.between('a1', 0, revoked.size)], ofAuthority);
  assert.deepEqual([...revoked.between('a1', 3, 6)], [all[4]]);
});

test('short serials, and those of 20 octets, are told apart; the first record of one counts', () => {
  const revoked = new Revoked();
  const serials = ['00', '0000', 'ab', 'ab00', '00ab', 'ff'.repeat(20), `${'ff'.repeat(19)}fe`];
  for (const serial of serials) revoked.add(revocation(1, { serial }));
  for (const serial of serials) assert.equal(revoked.get(serial)?.serial, serial);
  assert.equal(revoked.add(revocation(5, { serial: 'ab' })), false);
  assert.deepEqual(revoked.get('ab'), revocation(1, { serial: 'ab' }));
  assert.throws(() => revoked.add(revocation(3, { serial: 'ab'.repeat(21) })), TypeError);
});

test('a compromise raises an earlier reason once, in a place of its own, and changes nothing else', () => {
  const revoked = new Revoked();
  const all = [1, 4, 7].map((index) =>
    revocation(index, { authorityId: 'a1', shard: 2, reason: 'superseded' }),
  );
  const [first, second] = all as [Revocation, Revocation];
  for (const each of all) revoked.add(each);
  const scope = { authorityId: 'a1', shard: 2 };
  const told = (): readonly string[] =>
    [...readEntries([...revoked.entries(scope, 0)])].map(
      ({ serialHex, reason, revokedAt }) => `${serialHex.slice(0, 4)} ${reason} ${revokedAt}`,
    );
  const reading = revoked.entries(scope, 0);
  const later = { revokedAt: first.revokedAt + 5, revokedBy: 'other', notAfter: 1, shard: 9 };
  const compromise = { ...first, ...later, reason: 'keyCompromise' } as const;
  assert.equal(revoked.add(compromise), false);
  const raised = { ...first, reason: 'keyCompromise' } as const;
  assert.deepEqual(revoked.get(first.serial), raised);
  assert.equal(revoked.size, 3);
  assert.equal(revoked.mark(scope).length, 4, 'its CRL lacks something');
  assert.deepEqual([...revoked.between('a1', 3, 4)], [raised]);
  assert.deepEqual([...revoked.between('a1', 0, 3)], all.slice(1));
  assert.deepEqual([...revoked.of(scope)], [...all.slice(1), raised]);
  const lines = [...all.slice(1), raised].map(
    ({ serial, reason, revokedAt }) => `${serial.slice(0, 4)} ${reason} ${revokedAt}`,
  );
  assert.deepEqual(told(), lines);
  assert.equal([...readEntries([...reading])].length, 3, 'no serial twice in one that was begun');
  for (const again of [compromise, first]) assert.equal(revoked.add(again), false);
  assert.equal(revoked.mark(scope).length, 4);
  assert.deepEqual([revoked.isReplaced(0), revoked.isReplaced(3)], [true, false]);
  assert.deepEqual(revoked.get(second.serial), second);
});

test('a snapshot keeps which reasons were raised, and one that was begun before does not change', () => {
  const memory = emptyMemory(new FakeClock());
  const { revoked } = memory.objects;
  const scope = { authorityId: 'a1', shard: 1 };
  for (const index of [1, 16, 31])
    revoked.add(revocation(index, { ...scope, reason: 'unspecified' }));
  const before = memory.objects.copy();
  const parts = [...objectParts(before)];
  revoked.add(revocation(16, { reason: 'keyCompromise' }));
  assert.deepEqual([...objectParts(before)], parts);
  const again = emptyMemory(new FakeClock());
  for (const part of objectParts(memory.objects.copy()))
    again.objects.restore(contentOf([part]).objects);
  assert.equal(again.objects.expectedCount('revocation'), 3);
  assert.deepEqual(again.objects.revoked.get(serialOf(16)), revoked.get(serialOf(16)));
  assert.equal(again.objects.revoked.get(serialOf(16))?.reason, 'keyCompromise');
  assert.equal(again.objects.revoked.mark(scope).length, revoked.mark(scope).length);
  assert.deepEqual([...objectParts(again.objects.copy())], [...objectParts(memory.objects.copy())]);
});

test('a snapshot has the same bytes in whatever order the records came, and gives all of it back', () => {
  const memoryOf = (indexes: readonly number[]) => {
    const memory = emptyMemory(new FakeClock());
    for (const index of indexes) memory.objects.revoked.add(revocation(index));
    return memory;
  };
  const indexes = Array.from({ length: 5000 }, (_, index) => index);
  const one = memoryOf(indexes);
  const parts = [...objectParts(one.objects.copy())];
  assert.deepEqual([...objectParts(memoryOf([...indexes].reverse()).objects.copy())], parts);
  const copy = one.objects.copy();
  one.objects.revoked.add(revocation(9_999));
  assert.deepEqual([...objectParts(copy)], parts, 'what came later is not in it');
  const again = emptyMemory(new FakeClock());
  for (const part of parts) again.objects.restore(contentOf([part]).objects);
  assert.equal(again.objects.expectedCount('revocation'), 5000);
  for (const index of indexes)
    assert.deepEqual(again.objects.revoked.get(serialOf(index)), revocation(index));
});

test('the row of a revocation counts only as the log has it', () => {
  const { objects } = emptyMemory(new FakeClock());
  objects.apply(
    {
      ...{ kind: 'revocation', id: serialOf(1), sha256: 'ab', act: 'certificate.revoked' },
      subject: 's',
      detail: {
        ...{ authority: 'a1', reason: 'unspecified', revokedAt: 1_900_000_001, shard: 1 },
        ...{ revokedBy: 'uid:1', notAfter: 1_900_100_001 },
      },
    },
    1,
  );
  const mismatches: string[] = [];
  objects.onMismatch(({ id, found }) => mismatches.push(`${id.slice(0, 4)} ${found}`));
  const same = (index: number, over: Partial<Revocation> = {}): boolean =>
    objects.sameRow('revocation', serialOf(index), revocation(index, over));
  assert.deepEqual([same(1), same(1, { shard: 2 }), same(2)], [true, false, false]);
  assert.equal(objects.sameRow('revocation', serialOf(1), undefined), false);
  const [one, two] = [serialOf(1).slice(0, 4), serialOf(2).slice(0, 4)];
  assert.deepEqual(mismatches, [`${one} differs`, `${two} absent`, `${one} differs`]);
});

test('the shards in a snapshot are those of the log', () => {
  const shards = new CrlShards();
  shards.applyLeaf({ authorityId: 'a', shard: 7, notAfter: 9, url: 'http://ca/a/7.crl' });
  shards.applyLeaf({ authorityId: 'a', shard: 7, notAfter: 5, url: '' });
  const again = new CrlShards();
  again.restore(contentOf(shardParts(shards.copy())).shards);
  assert.deepEqual(again.of('a'), [
    { shard: 7, url: 'http://ca/a/7.crl', leaves: 2, lastNotAfter: 9 },
  ]);
});
