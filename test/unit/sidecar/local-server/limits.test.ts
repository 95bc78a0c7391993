import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpenCounter, RecentValues } from '../../../../sidecar/local-server/limits.ts';
import { createRefusalLog } from '../../../../sidecar/local-server/refusals.ts';

test('a counter gives back each place once', () => {
  const counter = new OpenCounter(2);
  const first = counter.take('a');
  assert.ok(first !== undefined && counter.take('a') !== undefined);
  assert.equal(counter.take('a'), undefined);
  assert.ok(counter.take('b') !== undefined);
  first();
  first();
  assert.equal(counter.count('a'), 1);
});

test('recent values forget the oldest of a key', () => {
  const recent = new RecentValues(2);
  for (const value of ['1', '2', '1', '3']) recent.add('a', value);
  assert.deepEqual(
    ['1', '2', '3'].map((value) => recent.has('a', value)),
    [true, false, true],
  );
});

test('a user who is refused all the time pushes only his own refusals out of the log', () => {
  const log = createRefusalLog({ perUid: 10, total: 20 });
  const add = (uid: number, id: string): void =>
    log.add({ id, uid, code: 'NO_IDENTITY', message: '', time: 0, pid: 1, selectors: [] });
  add(1, 'quiet');
  for (let each = 0; each < 1000; each += 1) add(2, `loud-${each}`);
  assert.equal(log.get('quiet')?.uid, 1);
  assert.equal(log.get('loud-999')?.uid, 2);
  assert.equal(log.get('loud-989'), undefined);
  for (let uid = 3; uid < 100; uid += 1) add(uid, `many-${uid}`);
  assert.equal(log.get('many-99')?.uid, 99);
});
