import assert from 'node:assert/strict';
import test from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import type { OutsideCheckpoint } from '../../../src/audit/start-check.ts';
import { DatabaseStaleness } from '../../../src/audit/staleness.ts';
import type { LedgerLog } from '../../../src/ledger/index.ts';

const outside = (size: number, epoch = 0): OutsideCheckpoint => ({
  origin: 'meshca.test/log',
  size,
  root: Buffer.alloc(32, size),
  note: { text: '', signatures: [] },
  epoch,
});

function world(): { readonly staleness: DatabaseStaleness; readonly announced: () => number } {
  const staleness = new DatabaseStaleness({
    // only checkpoints of others are compared with the tree
    log: {} as LedgerLog,
    file: { append: async () => {} },
    clock: { nowMs: () => 0 },
    logger: silentLogger,
  });
  let announced = 0;
  staleness.onChange(() => void (announced += 1));
  staleness.begin(7, 5);
  return { staleness, announced: () => announced };
}

const goingOn = (steps: string[], failing?: string) => {
  const step = (name: string) => async (): Promise<void> => {
    steps.push(name);
    if (name === failing) throw new Error(name);
  };
  return { restore: step('restore'), goOn: step('goOn') };
};

test('a checkpoint from outside holds the tree, and the newest of several counts', () => {
  const { staleness, announced } = world();
  assert.deepEqual([staleness.held, staleness.stale], [false, undefined]);
  staleness.become(outside(9), 'an agent', { size: 5 });
  staleness.become(outside(8), 'a witness', { size: 5 });
  assert.equal(announced(), 1);
  staleness.become(outside(3, 1), 'a witness', undefined);
  assert.deepEqual(staleness.stale, {
    newer: outside(3, 1),
    size: 0,
    sequence: 7,
    foundBy: 'a witness',
  });
  assert.deepEqual([staleness.held, announced()], [true, 2]);
});

test('a loss is accepted by the size of the newer checkpoint, once', async () => {
  const { staleness, announced } = world();
  const steps: string[] = [];
  await assert.rejects(staleness.accept(9, goingOn(steps)), { code: 'CONFLICT' });
  staleness.become(outside(9), 'an agent', { size: 5 });
  await assert.rejects(staleness.accept(5, goingOn(steps)), { code: 'CONFLICT' });
  assert.deepEqual(steps, []);
  const accepting = staleness.accept(9, goingOn(steps));
  await assert.rejects(staleness.accept(9, goingOn(steps)), { code: 'CONFLICT' });
  await accepting;
  assert.deepEqual(steps, ['restore', 'goOn']);
  assert.deepEqual([staleness.held, staleness.stale, announced()], [false, undefined, 2]);
});

test('a loss that could not be accepted leaves the tree held', async () => {
  for (const failing of ['restore', 'goOn']) {
    const { staleness } = world();
    staleness.become(outside(9), 'an agent', { size: 5 });
    await assert.rejects(staleness.accept(9, goingOn([], failing)), { message: failing });
    assert.deepEqual([staleness.held, staleness.stale?.newer.size], [true, 9]);
    await staleness.accept(9, goingOn([]));
    assert.equal(staleness.held, false);
  }
});
