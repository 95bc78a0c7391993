import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock, type Clock } from '../../../../src/common/runtime/index.ts';
import { ClockGuard } from '../../../../src/issuance/index.ts';

type Anchor = { readonly bootId: string; readonly uptimeMs: number; readonly wallMs: number };

function world() {
  let wallMs = 1_800_000_000_000;
  let uptimeMs = 5_000_000;
  let kept: Anchor | undefined;
  const clock: Clock = {
    ...systemClock,
    nowMs: () => wallMs,
    now: () => Math.floor(wallMs / 1000),
  };
  const store = {
    clockAnchor: async () => kept,
    setClockAnchor: async (anchor: Anchor) => void (kept = anchor),
  };
  return {
    pass: (seconds: number) => {
      wallMs += seconds * 1000;
      uptimeMs += seconds * 1000;
    },
    jump: (seconds: number) => {
      wallMs += seconds * 1000;
    },
    start: async (bootId = 'boot-1') => {
      const guard = new ClockGuard({
        store,
        clock,
        boot: { id: bootId, uptimeMs: () => uptimeMs },
        toleranceSeconds: 60,
      });
      await guard.start();
      return guard;
    },
    kept: () => kept,
  };
}

test('time that passes is no jump; a jump is one in either direction, and over when the clock is back', async () => {
  const w = world();
  const guard = await w.start();
  w.pass(10 * 86_400);
  assert.equal(guard.jumpedSeconds(), 0);
  w.jump(59);
  assert.equal(guard.jumpedSeconds(), 0);
  w.jump(3_600);
  assert.equal(guard.jumpedSeconds(), 3_659);
  w.jump(-2 * 3_659);
  assert.equal(guard.jumpedSeconds(), -3_659);
  w.jump(3_659);
  assert.equal(guard.jumpedSeconds(), 0);
});

test('a jump while the server was stopped is noticed at its start, and keeping does not make it good', async () => {
  const w = world();
  await w.start();
  w.pass(7_200);
  w.jump(86_400);
  const guard = await w.start();
  assert.equal(guard.jumpedSeconds(), 86_400);
  await guard.keep();
  assert.equal(guard.jumpedSeconds(), 86_400);
  await guard.accept();
  assert.equal(guard.jumpedSeconds(), 0);
});

test('after a reboot the clock of then counts, and slow drift does not add up', async () => {
  const w = world();
  const guard = await w.start();
  for (let hour = 0; hour < 100; hour += 1) {
    w.pass(3_601);
    w.jump(2);
    await guard.keep();
  }
  assert.equal(guard.jumpedSeconds(), 0);
  w.jump(86_400);
  assert.equal((await w.start('boot-2')).jumpedSeconds(), 0);
});
