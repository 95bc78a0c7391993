import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Attempts } from '../../../../src/domain/index.ts';
import type { Authority, RotationAction, RotationOperation } from '../../../../src/domain/index.ts';

const prepare = (id: string): RotationAction => ({
  type: 'prepare',
  operation: { id } as RotationOperation,
});
const publish = (id: string): RotationAction => ({
  type: 'publish',
  authority: { id } as Authority,
});
const standby: RotationAction = { type: 'standby', kind: 'issuing', parentId: null };
const attemptsOf = () =>
  new Attempts<string>({ firstMs: 500, longestMs: 3_000, standbyMs: 30_000 });
const at = (ms: number) => ({ ms, uniform: 0.5 });

test('an action that failed lets the others go first, and is tried again after its wait', () => {
  const attempts = attemptsOf();
  const [first, second] = [prepare('a'), publish('b')];
  assert.equal(attempts.due([first, second], 0), first);
  assert.equal(attempts.failed(first, 'away', at(0)), 500);
  assert.equal(attempts.due([prepare('a'), second], 499), second);
  assert.equal(attempts.due([prepare('a')], 499), undefined);
  assert.equal(attempts.nextMs(100), 400);
  assert.equal(attempts.due([first, second], 500), first);
});

test('the waits of each action double up to the longest, and begin anew after a success', () => {
  const attempts = attemptsOf();
  const waits = [0, 0, 0, 0].map(() => attempts.failed(prepare('a'), 'away', at(0)));
  assert.deepEqual(waits, [500, 1_000, 2_000, 3_000]);
  assert.equal(attempts.failed(prepare('b'), 'away', at(0)), 500, 'another one has its own');
  attempts.succeeded(prepare('a'));
  assert.equal(attempts.failed(prepare('a'), 'away', at(0)), 500);
});

test('what is no longer asked for is forgotten, with its failure', () => {
  const attempts = attemptsOf();
  attempts.failed(prepare('a'), 'away', at(0));
  attempts.due([prepare('a'), publish('b')], 0);
  assert.equal(attempts.failure(), 'away');
  attempts.due([publish('b')], 0);
  assert.equal(attempts.failure(), undefined);
  assert.equal(attempts.nextMs(0), undefined);
});

test('a standby that can not be made is tried seldom and is no failure of a rotation', () => {
  const attempts = attemptsOf();
  assert.equal(attempts.failed(standby, 'no standby token', at(0)), 30_000);
  assert.equal(attempts.failed(standby, 'no standby token', at(0)), 30_000);
  assert.equal(attempts.due([standby, publish('b')], 29_999)?.type, 'publish');
  assert.equal(attempts.failure(), undefined);
});
