import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CallDeadlines } from '../../../../src/server/grpc/call-deadlines.ts';
import { FakeClock } from '../../../support/agent.ts';

/** Calls with 30 s each, the names of those that were ended, and how many timers run. */
function world() {
  const clock = new FakeClock();
  const timers = new Set<object>();
  const counted = {
    monotonicMs: () => clock.monotonicMs(),
    after: (delayMs: number, callback: () => void) => {
      const timer = {};
      timers.add(timer);
      const cancel = clock.after(delayMs, () => {
        timers.delete(timer);
        callback();
      });
      return () => {
        timers.delete(timer);
        cancel();
      };
    },
  };
  const deadlines = new CallDeadlines(counted, 30_000);
  const expired: string[] = [];
  const begin = (name: string) => {
    const call = { startedMs: clock.monotonicMs(), expire: () => void expired.push(name) };
    return deadlines.add(call);
  };
  return { clock, timers, deadlines, expired, begin };
}

describe('the deadlines of calls', () => {
  test('end each call after its own time, with one timer for all', () => {
    const { clock, timers, expired, begin } = world();
    begin('first');
    clock.advance(10_000);
    begin('second');
    begin('third');
    assert.equal(timers.size, 1);
    clock.advance(20_000);
    assert.deepEqual(expired, ['first']);
    clock.advance(9_999);
    assert.deepEqual(expired, ['first']);
    clock.advance(1);
    assert.deepEqual(expired, ['first', 'second', 'third']);
    assert.equal(timers.size, 0);
  });

  test('leave a call alone that was answered, and end the one behind it in its own time', () => {
    const { clock, deadlines, expired, begin } = world();
    const first = begin('first');
    clock.advance(10_000);
    begin('second');
    deadlines.remove(first);
    clock.advance(29_999);
    assert.deepEqual(expired, []);
    clock.advance(1);
    assert.deepEqual(expired, ['second']);
  });

  test('leave no timer behind once no call is under way', () => {
    const { clock, timers, deadlines, expired, begin } = world();
    deadlines.remove(begin('first'));
    assert.equal(timers.size, 0);
    begin('second');
    clock.advance(30_000);
    assert.deepEqual([expired, timers.size], [['second'], 0]);
  });
});
