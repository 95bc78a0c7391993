import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeyedBuckets, TokenBucket } from '../../../../src/common/runtime/index.ts';
import { FakeClock } from '../../../support/agent.ts';

test('a bucket gives its burst, refills by the monotonic clock, takes a large cost only when full', () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket({ perSecond: 10, burst: 5 }, clock);
  assert.deepEqual([bucket.take(5), bucket.take()], [0, 100]);
  clock.jumpWall(3_600_000);
  assert.equal(bucket.take(), 100, 'a jump of the wall clock gives nothing');
  clock.advance(100);
  assert.equal(bucket.take(), 0);
  clock.advance(500);
  assert.equal(bucket.take(50), 0);
  assert.equal(bucket.take(), 4600, 'it is paid back');
  assert.throws(() => new TokenBucket({ perSecond: 0, burst: 1 }, clock), RangeError);
});

test('the buckets of many callers stay inside a bound', () => {
  const clock = new FakeClock();
  const buckets = new KeyedBuckets({ perSecond: 1, burst: 1 }, clock);
  for (let caller = 0; caller < 50_000; caller += 1) buckets.take(`c${caller}`);
  assert.ok(buckets.size <= 20_000);
  clock.advance(1000);
  buckets.take('new');
  assert.ok(buckets.size <= 20_000);
});

test('keyed buckets admit the burst of each key, then its rate, and say how long to wait', () => {
  const clock = new FakeClock();
  const buckets = new KeyedBuckets({ perSecond: 2, burst: 3 }, clock);
  const take = (key: string): number => buckets.take(key);
  assert.deepEqual([take('a'), take('a'), take('a'), take('a')], [0, 0, 0, 500]);
  assert.equal(take('b'), 0);
  clock.advance(500);
  assert.deepEqual([take('a'), take('a')], [0, 500]);
});
