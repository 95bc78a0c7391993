import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  UnidentifiedCharges,
  type Claimant,
} from '../../../../sidecar/local-server/unidentified.ts';
import { FakeClock } from '../../../support/agent.ts';

const rates = {
  perImage: { perSecond: 1, burst: 2 },
  perGroup: { perSecond: 10, burst: 4 },
};
const claimant = (holder: string): Claimant => ({
  holder,
  peer: { image: { startTime: '1', token: 'a' } },
});

test('refusals are charged to what a process runs, and to its user and control group', () => {
  const clock = new FakeClock();
  const charges = new UnidentifiedCharges(rates, clock);
  const [one, two, other] = [claimant('0 /pod-a'), claimant('0 /pod-a'), claimant('0 /pod-b')];
  assert.equal(charges.waitMs(one), 0);
  charges.charge(one);
  charges.charge(one);
  assert.deepEqual([charges.waitMs(one), charges.waitMs(two), charges.waitMs(other)], [1000, 0, 0]);
  charges.charge(two);
  charges.charge(two);
  const third = claimant('0 /pod-a');
  assert.equal(charges.waitMs(third), 100, 'its group has used up its share');
  assert.equal(charges.waitMs(other), 0, 'another pod with the same uid has not');
  assert.equal(charges.waitMs({ holder: '0 /pod-a', peer: undefined }), 100);
  clock.advance(1000);
  assert.deepEqual([charges.waitMs(one), charges.waitMs(third)], [0, 0]);
  for (let each = 0; each < 5; each += 1) charges.charge(one);
  const afterExec = { ...one, peer: { image: { startTime: '1', token: 'b' } } };
  clock.advance(200);
  assert.deepEqual([charges.waitMs(one), charges.waitMs(afterExec)], [800, 0]);
  charges.clear();
  assert.equal(charges.waitMs(one), 0, 'when entries changed');
});
