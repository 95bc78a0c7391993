import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SyncPace } from '../../../src/store/sqlite/sync-pace.ts';

const fastMs = 0.1;
const slowMs = 3;

function paceAt() {
  const clock = { nowMs: 0, monotonicMs: () => clock.nowMs };
  const pace = new SyncPace(clock);
  const take = (ms: number, times: number): void => {
    for (let index = 0; index < times; index += 1) pace.took(ms);
  };
  return { clock, pace, take };
}

test('a fast disk is synced in this thread, and some slow syncs do not change that', () => {
  const { pace, take } = paceAt();
  for (let round = 0; round < 20; round += 1) {
    take(fastMs, 5);
    take(slowMs, 3);
    assert.equal(pace.isInline(), true);
  }
});

test('a slow disk is left to another thread after three syncs, and tried after a second', () => {
  const { clock, pace, take } = paceAt();
  take(slowMs, 2);
  assert.equal(pace.isInline(), true);
  take(slowMs, 1);
  assert.equal(pace.isInline(), false);
  clock.nowMs = 999;
  assert.equal(pace.isInline(), false);
  clock.nowMs = 1_000;
  assert.equal(pace.isInline(), true);
  take(slowMs, 3);
  assert.equal(pace.isInline(), false);
});

test('a disk that becomes slow is left to another thread when most of 16 syncs are slow', () => {
  const { pace, take } = paceAt();
  take(fastMs, 100);
  take(slowMs, 8);
  assert.equal(pace.isInline(), true);
  take(slowMs, 1);
  assert.equal(pace.isInline(), false);
});

test('one sync that stalls is enough, and each trial that fails comes twice as late, up to a minute', () => {
  const { clock, pace, take } = paceAt();
  take(fastMs, 100);
  const rests = [1, 2, 4, 8, 16, 32, 60, 60];
  for (const seconds of rests) {
    take(1_000, 1);
    assert.equal(pace.isInline(), false);
    clock.nowMs += seconds * 1_000 - 1;
    assert.equal(pace.isInline(), false);
    clock.nowMs += 1;
    assert.equal(pace.isInline(), true);
  }
  take(fastMs, 16);
  take(1_000, 1);
  clock.nowMs += 1_000;
  assert.equal(pace.isInline(), true);
});

test('a disk that becomes fast is synced in this thread again', () => {
  const { clock, pace, take } = paceAt();
  take(slowMs, 3);
  clock.nowMs = 1_000;
  take(fastMs, 16);
  assert.equal(pace.isInline(), true);
});
