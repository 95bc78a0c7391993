import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { RecordedLeaf } from '../../../src/ledger/issued-record.ts';
import { UnreplacedLeaves } from '../../../src/ledger/unreplaced-leaves.ts';
import { newSerial } from '../../compliance/store/fixtures.ts';
import { FakeClock } from '../../support/agent.ts';

const now = 1_800_000_000;
const agent = 'spiffe://example.org/meshca/agent/n1';
const leaf = (changes: Partial<RecordedLeaf> = {}): RecordedLeaf => ({
  kind: 'workload',
  holder: agent,
  serial: newSerial(),
  authorityId: 'a1',
  atMs: now * 1000,
  notAfter: now + 600,
  ...changes,
});

function memory(...leaves: readonly RecordedLeaf[]): UnreplacedLeaves {
  const unreplaced = new UnreplacedLeaves(new FakeClock(now * 1000));
  for (const each of leaves) unreplaced.apply(each);
  return unreplaced;
}

describe('an authority is in use', () => {
  test('until each live leaf was replaced or has ended', () => {
    const [one, other] = [leaf(), leaf({ kind: 'agent', notAfter: now + 900 })];
    const leaves = memory(one, other);
    assert.ok(leaves.isLive('a1', now + 900));
    assert.ok(!leaves.isLive('a1', now + 901));
    assert.ok(!leaves.isLive('a2', now));
    leaves.replaced(agent, [one.serial]);
    assert.ok(leaves.isLive('a1', now));
    leaves.replaced(agent, [one.serial, other.serial]);
    assert.ok(!leaves.isLive('a1', now));
  });

  test('whatever others say of a leaf that is not theirs', () => {
    const one = leaf();
    const leaves = memory(one);
    leaves.replaced('spiffe://example.org/meshca/agent/thief', [one.serial]);
    leaves.gone('server', 'workload', '');
    leaves.gone(agent, 'agent', '');
    assert.ok(leaves.isLive('a1', now));
  });

  test('until the process that had its keys is gone, but for its last leaf', () => {
    const server = { kind: 'server', holder: 'server' } as const;
    const [old, last] = [leaf(server), leaf({ ...server, authorityId: 'a2' })];
    const leaves = memory(old, last, leaf({ authorityId: 'a3' }));
    leaves.gone('server', 'server', last.serial);
    assert.deepEqual(
      ['a1', 'a2', 'a3'].map((id) => leaves.isLive(id, now)),
      [false, true, true],
    );
  });
});

test('a leaf of a record under the snapshot counts once it was read, unless it was told of before', () => {
  const server = { kind: 'server', holder: 'server' } as const;
  const [one, other, old, last] = [leaf(), leaf({ authorityId: 'a2' }), leaf(server), leaf(server)];
  const leaves = memory();
  assert.ok(leaves.whole);
  leaves.begin();
  assert.ok(!leaves.whole);
  leaves.apply(last);
  leaves.replaced(agent, [one.serial]);
  leaves.gone('server', 'server', last.serial);
  leaves.complete(memory(one, other, old));
  assert.ok(leaves.whole);
  assert.deepEqual(
    ['a1', 'a2'].map((id) => leaves.isLive(id, now)),
    [true, true],
  );
  leaves.gone('server', 'server', '');
  assert.ok(
    !leaves.isLive('a1', now),
    'neither the leaf that was replaced nor the old one of the server',
  );
});

test('expired leaves are dropped, and still count for a clock that is slow', () => {
  const clock = new FakeClock(now * 1000);
  const leaves = new UnreplacedLeaves(clock);
  for (let index = 0; index < 3_000; index += 1) leaves.apply(leaf({ notAfter: now + index }));
  clock.advance(2_000_000);
  for (let index = 0; index < 5_000; index += 1)
    leaves.apply(leaf({ authorityId: 'a2', notAfter: now + 5_000 }));
  clock.advance(10_000_000);
  for (let index = 0; index < 9_000; index += 1)
    leaves.apply(leaf({ authorityId: 'a3', notAfter: now + 20_000 }));
  assert.ok(leaves.isLive('a1', now + 2_900));
  assert.ok(!leaves.isLive('a1', now + 3_000));
});

test('who holds a leaf is asked only where one is live', () => {
  const other = 'spiffe://example.org/meshca/agent/n2';
  const [one, replaced] = [leaf({ holder: other }), leaf()];
  const leaves = memory(one, leaf({ holder: other }), replaced);
  leaves.replaced(agent, [replaced.serial]);
  const asked: string[] = [];
  const count = (counts: boolean): number =>
    leaves.countOf('a1', now, (holder) => {
      asked.push(holder);
      return counts;
    });
  assert.equal(count(true), 2);
  assert.equal(count(false), 0);
  assert.deepEqual(asked, [other, other]);
});
