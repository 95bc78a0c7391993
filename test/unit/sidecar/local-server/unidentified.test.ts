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
let processes = 0;
/** Another process; `token` is undefined where the kernel hides what it runs. */
const claimant = (holder: string, seen: 'seen' | 'hidden' = 'seen') => ({
  holder,
  peer: {
    pid: ++processes,
    image: { startTime: '1', token: seen === 'seen' ? 'a' : undefined },
  },
});
/** The same process on another connection, after an exec. */
const afterExecOf = (
  { holder, peer }: ReturnType<typeof claimant>,
  token: string | undefined,
): Claimant => ({ holder, peer: { ...peer, image: { startTime: '1', token } } });

test('who was given an identity is kept from nothing by the refusals of its neighbours', () => {
  const clock = new FakeClock();
  const charges = new UnidentifiedCharges(rates, clock);
  const [served, noisy] = [claimant('0 /pod'), claimant('0 /pod')];
  charges.identified(served);
  for (let each = 0; each < 6; each += 1) charges.charge(noisy);
  assert.ok(charges.waitMs(claimant('0 /pod')) > 0);
  assert.equal(charges.waitMs(served), 0);
  assert.ok(charges.waitMs(afterExecOf(served, 'b')) > 0, 'another program is not it');

  charges.clear();
  for (let each = 0; each < 6; each += 1) charges.charge(noisy);
  assert.ok(charges.waitMs(served) > 0, 'the entries changed: nobody is known any more');
});

test('where the kernel hides an exec, a share stays with its process, and its refusals use it up', () => {
  const charges = new UnidentifiedCharges(rates, new FakeClock());
  const [served, noisy] = [claimant('0 /pod', 'hidden'), claimant('0 /pod', 'hidden')];
  charges.identified(served);
  for (let each = 0; each < 6; each += 1) charges.charge(noisy);
  const again = afterExecOf(served, undefined);
  assert.equal(charges.waitMs(again), 0, 'on its next connection too');
  for (let each = 0; each < 2; each += 1) charges.charge(again);
  assert.ok(charges.waitMs(again) > 0);
  assert.ok(
    charges.waitMs(afterExecOf(noisy, undefined)) > 0,
    'the share of a process without one',
  );
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
  const afterExec = afterExecOf(one, 'b');
  clock.advance(200);
  assert.deepEqual([charges.waitMs(one), charges.waitMs(afterExec)], [800, 0]);
  charges.clear();
  assert.equal(charges.waitMs(one), 0, 'when entries changed');
});
