import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { Revocation } from '../../../../src/domain/index.ts';
import { RevokedBacklog } from '../../../../src/issuance/ocsp/revoked-backlog.ts';
import { Revoked } from '../../../../src/ledger/revoked.ts';

const serialOf = (index: number): string => index.toString(16).padStart(32, '0');
const revocation = (index: number, authorityId = 'a1'): Revocation => ({
  serial: serialOf(index),
  authorityId,
  reason: 'superseded',
  revokedAt: 1_900_000_000,
  revokedBy: 'uid:0',
  notAfter: 1_900_100_000,
  shard: 1,
});

function world(before: number) {
  const memory = { revoked: new Revoked() };
  const add = (from: number, to: number, authorityId?: string): void => {
    for (let index = from; index < to; index += 1)
      memory.revoked.add(revocation(index, authorityId));
  };
  add(0, before);
  const backlog = new RevokedBacklog('a1', {
    extent: () => memory.revoked.extent(),
    between: (authorityId, from, to) => memory.revoked.between(authorityId, from, to),
  });
  const serials = (part: { readonly entries: readonly Revocation[] } | undefined): string[] =>
    (part?.entries ?? []).map(({ serial }) => serial);
  return { memory, add, backlog, serials };
}

suite('revocations that wait for their OCSP answer', () => {
  test('go before those from before the first look, the newest first', () => {
    const { add, backlog, serials } = world(1_000);
    assert.deepEqual(serials(backlog.takeNew()), []);
    assert.equal(backlog.waiting, 0);
    add(1_000, 1_001);
    assert.deepEqual(serials(backlog.takeNew()), [serialOf(1_000)]);
    assert.deepEqual(serials(backlog.takeNew()), []);
    add(1_001, 2_001);
    const newest = serials(backlog.takeNew());
    assert.equal(newest.at(-1), serialOf(2_000));
    assert.equal(backlog.waiting, 1_000 - newest.length);
    add(2_001, 2_002);
    assert.deepEqual(serials(backlog.takeNew()), [serialOf(2_001)]);
    const seen = new Set(newest);
    const kinds: boolean[] = [];
    for (let part = backlog.takeWaiting(); part !== undefined; part = backlog.takeWaiting()) {
      kinds.push(part.isEarlier);
      for (const serial of serials(part)) {
        assert.ok(!seen.has(serial), `${serial} was given twice`);
        seen.add(serial);
      }
    }
    assert.equal(seen.size, 2_000, 'each was given once');
    assert.deepEqual(kinds, [...kinds].sort(), 'those of before come last');
    assert.equal(kinds.at(-1), true);
    assert.equal(backlog.waiting, 0);
  });

  test('are those of one authority', () => {
    const { add, backlog, serials } = world(0);
    backlog.takeNew();
    add(0, 2, 'a2');
    add(2, 3);
    assert.deepEqual(serials(backlog.takeNew()), [serialOf(2)]);
  });

  test('are all looked at again where the memory of the log is another one', () => {
    const { memory, add, backlog, serials } = world(0);
    backlog.takeNew();
    memory.revoked = new Revoked();
    add(0, 3);
    assert.deepEqual(serials(backlog.takeNew()), []);
    const part = backlog.takeWaiting();
    assert.deepEqual([serials(part).length, part?.isEarlier], [3, true]);
  });
});
