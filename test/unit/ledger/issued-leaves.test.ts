import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loggedObject, type ClockState } from '../../../src/domain/index.ts';
import { apply, emptyMemory } from '../../../src/ledger/memory.ts';
import type { Issued } from '../../../src/ledger/issued-record.ts';
import { FakeClock } from '../../support/agent.ts';

const day = 86_400;

test('a leaf is remembered until it ended by a clock that is believed', () => {
  const clock = new FakeClock();
  const memory = emptyMemory(clock);
  const anchor: ClockState = {
    bootId: 'boot-1',
    uptimeMs: 0,
    wallMs: clock.nowMs(),
    standing: 'believed',
    seconds: 0,
  };
  let sequence = 0;
  const told = (state: ClockState): void => {
    const object = { ...loggedObject('clock', state), subject: 'clock', detail: { ...state } };
    apply(memory, { object, issued: undefined }, (sequence += 1));
  };
  told(anchor);
  const notAfter = clock.now() + day;
  const leaf: Issued = {
    ...{ of: 'leaf', kind: 'workload', holder: 'n1', serial: '0a' },
    ...{ authorityId: 'a', atMs: clock.nowMs(), notAfter },
  };
  apply(memory, { object: undefined, issued: leaf }, (sequence += 1));
  const known = (): readonly string[] => memory.issued.copy().holders.map(([holder]) => holder);

  clock.jumpWall(30 * day * 1000);
  assert.equal(memory.issued.holders(clock.now()).size, 0);
  assert.deepEqual(known(), ['n1'], 'it is not forgotten before the jump is on record');
  told({ ...anchor, standing: 'jumped', seconds: 30 * day });
  assert.equal(memory.issued.holders(clock.now()).size, 0, 'of those that live by this clock');
  assert.deepEqual(known(), ['n1'], 'it is not forgotten');
  clock.jumpWall(-30 * day * 1000);
  told(anchor);
  assert.deepEqual([...memory.issued.holders(clock.now())], [['n1', notAfter]]);

  clock.advance(30 * day * 1000);
  told({ ...anchor, wallMs: clock.nowMs() });
  assert.equal(memory.issued.holders(clock.now()).size, 0);
  assert.deepEqual(known(), []);
});
