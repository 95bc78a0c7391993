import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BundleFloor } from '../../../src/issuance/index.ts';
import { FakeClock } from '../../support/agent.ts';

const day = 86_400;

function floorOf(clock: FakeClock, restoredAtMs?: number): BundleFloor {
  const restores =
    restoredAtMs === undefined ? [] : [{ acceptedMs: restoredAtMs, lostFromMs: restoredAtMs }];
  return new BundleFloor({ objects: { restores: () => restores }, clock });
}

test('without a restore the sequences go on by one', () => {
  assert.equal(floorOf(new FakeClock()).sequence(), 0);
});

test('after a restore they go on from its time, and never from a time to come', () => {
  const clock = new FakeClock();
  assert.equal(floorOf(clock, clock.nowMs() - 1_500).sequence(), clock.now() - 1);
  assert.equal(floorOf(clock, clock.nowMs() + day * 1000).sequence(), clock.now());
});

test('an agent that holds more raises it to the present time, whatever number it says', () => {
  const clock = new FakeClock();
  const floor = floorOf(clock);
  assert.equal(floor.met(7, 7), false);
  assert.equal(floor.met(5, 7), false);
  assert.equal(floor.met(Number.MAX_SAFE_INTEGER, 7), false, 'no sequence that was ever given');
  assert.equal(floor.sequence(), 0);
  assert.equal(floor.met(9, 7), true);
  assert.equal(floor.sequence(), clock.now());
});

test('an agent that lies again and again raises it once a day', () => {
  const clock = new FakeClock();
  const floor = floorOf(clock);
  assert.equal(floor.met(9, 7), true);
  const raised = floor.sequence();
  for (let hour = 0; hour < 23; hour += 1) {
    clock.advance(3_600_000);
    assert.equal(floor.met(clock.now(), 7), false);
    assert.equal(floor.met(clock.now(), raised), false);
  }
  assert.equal(floor.sequence(), raised);
  clock.advance(3_600_000);
  assert.equal(floor.met(clock.now(), raised), true);
});
