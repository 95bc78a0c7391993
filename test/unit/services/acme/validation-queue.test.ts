import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ValidationQueue, type Waiting } from '../../../../src/services/acme/validation-queue.ts';

const limits = { concurrent: 4, perAccount: 2, waiting: 100 };
const item = (accountId: string, place: number): Waiting => ({
  accountId,
  orderId: `order-${accountId}`,
  place,
  type: 'http-01',
});
const drained = (queue: ValidationQueue<Waiting>): readonly Waiting[] => {
  const items: Waiting[] = [];
  for (let next = queue.next(); next !== undefined; next = queue.next()) items.push(next);
  return items;
};

describe('the queue of validations', () => {
  it('lets accounts take turns, however much one of them asks for', () => {
    const queue = new ValidationQueue<Waiting>(limits);
    for (let place = 0; place < 50; place += 1) queue.add(item('a', place));
    queue.add(item('b', 0));
    queue.add(item('c', 0));
    assert.deepEqual(
      drained(queue).map(({ accountId }) => accountId),
      ['a', 'b', 'c', 'a'],
    );
  });

  it('gives one account a part of the places alone, and the others go on', () => {
    const queue = new ValidationQueue<Waiting>(limits);
    for (let place = 0; place < 50; place += 1) queue.add(item('a', place));
    const running = drained(queue);
    assert.equal(running.length, limits.perAccount);
    queue.add(item('b', 0));
    assert.equal(queue.next()?.accountId, 'b');
    assert.equal(queue.next(), undefined);
    queue.done(running[0] as Waiting);
    assert.equal(queue.next()?.accountId, 'a');
  });

  it('takes each challenge once, until it is done', () => {
    const queue = new ValidationQueue<Waiting>(limits);
    assert.ok(queue.add(item('a', 0)));
    assert.equal(queue.add(item('a', 0)), false);
    const [running] = drained(queue);
    assert.equal(queue.add(item('a', 0)), false);
    queue.done(running as Waiting);
    assert.ok(queue.add(item('a', 0)));
  });

  it('keeps places to wait for other accounts, however much one of them asks for', () => {
    const queue = new ValidationQueue<Waiting>(limits);
    for (let place = 0; place < 2 * limits.waiting; place += 1) queue.add(item('a', place));
    assert.ok(queue.waiting < limits.waiting);
    assert.ok(queue.add(item('b', 0)));
  });

  it('is bounded', () => {
    const queue = new ValidationQueue<Waiting>({ ...limits, waiting: 2 });
    assert.deepEqual(
      ['a', 'b', 'c'].map((accountId) => queue.add(item(accountId, 0))),
      [true, true, false],
    );
    queue.clear();
    assert.equal(queue.next(), undefined);
    assert.ok(queue.add(item('a', 0)));
  });
});
