import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Batcher } from '../../../src/issuance/group-commit.ts';

test('groups of one turn share a batch and each gets its own results', async () => {
  const batches: number[][] = [];
  const batcher = new Batcher<number, number>(async (items) => {
    batches.push([...items]);
    return items.map((item) => item * 10);
  }, 100);
  const results = await Promise.all([
    batcher.run([1, 2]),
    batcher.run([3]),
    batcher.run([]),
    batcher.run([4, 5, 6]),
  ]);
  assert.deepEqual(results, [[10, 20], [30], [], [40, 50, 60]]);
  assert.deepEqual(batches, [[1, 2, 3, 4, 5, 6]]);
});

test('a batch stays within the limit unless one group alone is larger', async () => {
  const sizes: number[] = [];
  const batcher = new Batcher<number, number>(async (items) => {
    sizes.push(items.length);
    return [...items];
  }, 3);
  await Promise.all([batcher.run([1, 2]), batcher.run([3, 4]), batcher.run([5, 6, 7, 8])]);
  assert.deepEqual(sizes, [2, 2, 4]);
});

test('what arrives while a batch is worked on goes into the next one', async () => {
  const batches: number[][] = [];
  let open = (): void => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const batcher = new Batcher<number, number>(async (items) => {
    batches.push([...items]);
    if (batches.length === 1) await gate;
    return [...items];
  }, 100);
  const first = batcher.run([1]);
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  const later = [batcher.run([2]), batcher.run([3])];
  open();
  await Promise.all([first, ...later]);
  assert.deepEqual(batches, [[1], [2, 3]]);
});

test('a group that nobody wants any more when its batch begins is not worked on', async () => {
  const batches: number[][] = [];
  const gate = Promise.withResolvers<void>();
  const batcher = new Batcher<number, number>(async (items) => {
    batches.push([...items]);
    await gate.promise;
    return [...items];
  }, 100);
  let wanted = true;
  const first = batcher.run([1], () => wanted);
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  const later = [batcher.run([2], () => wanted), batcher.run([3])];
  const settled = Promise.allSettled([first, ...later, batcher.run([4], () => wanted)]);
  wanted = false;
  gate.resolve();
  assert.deepEqual(
    (await settled).map((each) =>
      each.status === 'fulfilled' ? each.value : (each.reason as { code: string }).code,
    ),
    [[1], 'CANCELLED', [3], 'CANCELLED'],
    'what was worked on already runs to its end',
  );
  assert.deepEqual(batches, [[1], [3]]);
  assert.equal(batcher.waiting, 0);
});

test('a failed batch fails its groups and not the ones after it', async () => {
  let calls = 0;
  const batcher = new Batcher<number, number>(async (items) => {
    calls += 1;
    if (calls === 1) throw new Error('disk full');
    return [...items];
  }, 2);
  const settled = await Promise.allSettled([batcher.run([1, 2]), batcher.run([3])]);
  assert.deepEqual(
    settled.map(({ status }) => status),
    ['rejected', 'fulfilled'],
  );
});

test('a batch is as large as it is told for the number that waits', async () => {
  const asked: number[] = [];
  const sizes: number[] = [];
  const batcher = new Batcher<number, number>(
    async (items) => {
      sizes.push(items.length);
      return [...items];
    },
    4,
    (waiting) => {
      asked.push(waiting);
      return Math.ceil(waiting / 2);
    },
  );
  await Promise.all(Array.from({ length: 10 }, (_, index) => batcher.run([index])));
  assert.deepEqual(asked, [10, 6, 3, 1]);
  assert.deepEqual(sizes, [4, 3, 2, 1], 'and never above the limit');
});
