import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Holds } from '../../../../../sidecar/apis/sds/holds.ts';
import { systemClock, type Clock } from '../../../../../src/common/runtime/index.ts';

test('a name whose timer fires a part of a millisecond early is over at the next one', () => {
  let now = 0;
  const timers: { readonly dueMs: number; readonly fire: () => void }[] = [];
  const clock: Clock = {
    ...systemClock,
    monotonicMs: () => now,
    after: (delayMs, fire) => {
      timers.push({ dueMs: now + delayMs, fire });
      return () => {};
    },
  };
  let over: readonly string[] = [];
  const holds: Holds = new Holds(clock, 5_000, () => {
    over = holds.update(['default']);
  });
  assert.deepEqual(holds.update(['default']), []);
  now = 4_999.6;
  timers.shift()?.fire();
  assert.deepEqual(over, []);
  const [next] = timers;
  assert.equal(next?.dueMs, 5_000);
  now = 5_000;
  next?.fire();
  assert.deepEqual(over, ['default']);
});
