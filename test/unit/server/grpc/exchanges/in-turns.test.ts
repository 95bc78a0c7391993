import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InTurns } from '../../../../../src/server/grpc/exchanges/in-turns.ts';
import { nextTurn } from '../../../../support/until.ts';

/** A call whose flow is on record, and work that ends when the test says so. */
function world() {
  const seen: string[] = [];
  const works = new Map<number, PromiseWithResolvers<void>>();
  const turns = new InTurns<number>(
    { pause: () => seen.push('pause'), resume: () => seen.push('resume') },
    (message) => {
      seen.push(`begin ${message}`);
      const work = Promise.withResolvers<void>();
      works.set(message, work);
      return work.promise;
    },
    (thrown) => seen.push(`failed ${(thrown as Error).message}`),
  );
  const end = async (message: number, error?: Error): Promise<void> => {
    if (error === undefined) works.get(message)?.resolve();
    else works.get(message)?.reject(error);
    await nextTurn();
  };
  return { seen, turns, end };
}

test('a message begins after the one before has ended, and the caller is held back until all have', async () => {
  const { seen, turns, end } = world();
  for (const message of [1, 2]) turns.take(message);
  await nextTurn();
  assert.deepEqual(seen, ['pause', 'begin 1']);
  await end(1);
  assert.deepEqual(seen, ['pause', 'begin 1', 'begin 2']);
  let handled = false;
  void turns.handled().then(() => (handled = true));
  await nextTurn();
  assert.equal(handled, false);
  await end(2);
  assert.deepEqual([handled, seen.at(-1)], [true, 'resume']);
  turns.take(3);
  await nextTurn();
  assert.deepEqual(seen.slice(-2), ['pause', 'begin 3']);
});

test('a message that fails is told, and the caller stays held back', async () => {
  const { seen, turns, end } = world();
  turns.take(1);
  await nextTurn();
  await end(1, new Error('no'));
  assert.deepEqual(seen, ['pause', 'begin 1', 'failed no']);
  await turns.handled();
});
