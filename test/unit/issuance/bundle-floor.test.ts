import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuditRecord } from '../../../src/domain/index.ts';
import { BundleFloor } from '../../../src/issuance/index.ts';
import { FakeClock } from '../../support/agent.ts';

const day = 86_400;

function floorOf(clock: FakeClock, restoredAtMs?: number): BundleFloor {
  const items = restoredAtMs === undefined ? [] : [{ timeMs: restoredAtMs } as AuditRecord];
  return new BundleFloor({
    audit: { list: () => Promise.resolve({ items, next: undefined }) },
    wasRestored: () => Promise.resolve(restoredAtMs !== undefined),
    clock,
  });
}

test('without a restore the sequences go on by one', async () => {
  assert.equal(await floorOf(new FakeClock()).sequence(), 0);
});

test('after a restore they go on from its time, and never from a time to come', async () => {
  const clock = new FakeClock();
  assert.equal(await floorOf(clock, clock.nowMs() - 1_500).sequence(), clock.now() - 1);
  assert.equal(await floorOf(clock, clock.nowMs() + day * 1000).sequence(), clock.now());
});

test('an agent that holds more raises it to the present time, whatever number it says', async () => {
  const clock = new FakeClock();
  const floor = floorOf(clock);
  assert.equal(floor.met(7, 7), false);
  assert.equal(floor.met(5, 7), false);
  assert.equal(floor.met(Number.MAX_SAFE_INTEGER, 7), false, 'no sequence that was ever given');
  assert.equal(await floor.sequence(), 0);
  assert.equal(floor.met(9, 7), true);
  assert.equal(await floor.sequence(), clock.now());
});

test('an agent that lies again and again raises it once a day', async () => {
  const clock = new FakeClock();
  const floor = floorOf(clock);
  assert.equal(floor.met(9, 7), true);
  const raised = await floor.sequence();
  for (let hour = 0; hour < 23; hour += 1) {
    clock.advance(3_600_000);
    assert.equal(floor.met(clock.now(), 7), false);
    assert.equal(floor.met(clock.now(), raised), false);
  }
  assert.equal(await floor.sequence(), raised);
  clock.advance(3_600_000);
  assert.equal(floor.met(clock.now(), raised), true);
});
