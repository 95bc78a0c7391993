import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentClocks } from '../../../../src/services/sync/agent-clocks.ts';
import { FakeClock } from '../../../support/agent.ts';

function world(offSeconds: readonly number[]) {
  const clock = new FakeClock();
  const clocks = new AgentClocks(clock);
  for (const [index, off] of offSeconds.entries())
    clocks.told(`n${index}`, clock.nowMs() + off * 1000);
  return { clock, clocks, ahead: () => clocks.aheadSeconds(60) };
}

test('the clock of the server is wrong when those of most agents say so, in either direction', () => {
  assert.equal(world([0, 5, -20, 59]).ahead(), 0);
  assert.equal(world([-600, -590, -610]).ahead(), 600);
  assert.equal(world([7200, 7200, 7210, 0, 0]).ahead(), -7200);
});

test('a minority that lies, or half of the agents, makes no clock wrong, however far it goes', () => {
  const year = 365 * 86_400;
  assert.equal(world([0, 1, 2, year, year]).ahead(), 0);
  assert.equal(world([-1, 1, -year, year]).ahead(), 0);
  assert.equal(world([0, 0, 9000, 9000]).ahead(), 0);
  assert.equal(world([-100, -100, -100, year, year]).ahead(), 100, 'nor a wrong one right');
});

test('two agents, and those that tell no time or have gone, judge nothing', () => {
  assert.equal(world([900, 900]).ahead(), 0);
  const { clocks, clock, ahead } = world([900, 900, 900]);
  assert.equal(ahead(), -900);
  clocks.told('n0', 0);
  assert.equal(ahead(), 0, 'it came back with an older release');
  clocks.told('n0', clock.nowMs() + 900_000);
  clocks.gone('n1');
  assert.equal(ahead(), 0);
});

test('a jump of the server after the hellos shows, and the passing of time is none', () => {
  const { clock, ahead } = world([0, 0, 0]);
  clock.advance(3_600_000);
  assert.equal(ahead(), 0);
  clock.jumpWall(-120_000);
  assert.equal(ahead(), -120);
});
