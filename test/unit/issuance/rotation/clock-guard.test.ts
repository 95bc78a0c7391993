import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock, type Clock } from '../../../../src/common/runtime/index.ts';
import type { AuditEvent, ClockState } from '../../../../src/domain/index.ts';
import { ClockGuard } from '../../../../src/issuance/index.ts';

function world() {
  let wallMs = 1_800_000_000_000;
  let uptimeMs = 5_000_000;
  let said: ClockState | undefined;
  const records: AuditEvent[] = [];
  const clock: Clock = {
    ...systemClock,
    nowMs: () => wallMs,
    now: () => Math.floor(wallMs / 1000),
  };
  const store = {
    clock: () => said,
    recordClock: async (state: ClockState, event: AuditEvent) => {
      said = state;
      records.push(event);
    },
  };
  return {
    /** Anything that the server writes as it works. */
    work: () =>
      void records.push({ timeMs: wallMs, actor: 'a', kind: 'k', subject: 's', detail: {} }),
    kinds: () => records.map(({ kind }) => kind).filter((kind) => kind !== 'clock.anchored'),
    /** A row of the log that somebody put there. */
    forge: (timeMs: number) =>
      void records.push({ timeMs, actor: 'a', kind: 'k', subject: 's', detail: {} }),
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
        rebootToleranceSeconds: 3_600,
        lastRecordedMs: records.at(-1)?.timeMs,
        boot: { id: bootId, uptimeMs: () => uptimeMs },
        toleranceSeconds: 60,
      });
      await guard.start();
      return guard;
    },
    said: () => said,
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

test('a jump is on record once, and a reboot does not end it', async () => {
  const w = world();
  const guard = await w.start();
  w.work();
  w.jump(10 * 86_400);
  await guard.keep();
  await guard.keep();
  w.work();
  assert.deepEqual(w.kinds(), ['k', 'clock.doubted', 'k']);
  const again = await w.start();
  assert.equal(again.standing(), 'jumped');
  w.pass(60);
  const rebooted = await w.start('boot-2');
  assert.equal(rebooted.standing(), 'unproven');
  await rebooted.keep();
  assert.deepEqual(w.kinds(), ['k', 'clock.doubted', 'k']);
  await rebooted.accept();
  w.jump(7_200);
  await rebooted.keep();
  assert.equal(w.kinds().at(-1), 'clock.doubted', 'another jump is another record');
});

test('a reboot lets through no jump on record that it would allow without one', async () => {
  for (const [jump, passed, standing] of [
    [3_000, 500, 'unproven'],
    [3_000, 0, 'unproven'],
    [-3_000, 500, 'behind-log'],
    [-3_000, 3_500, 'unproven'],
  ] as const) {
    const w = world();
    const guard = await w.start();
    w.jump(jump);
    await guard.keep();
    w.pass(passed);
    assert.equal((await w.start('boot-2')).standing(), standing, `${jump} s, ${passed} s later`);
  }
});

test('a jump that was set right is accepted on record, also over a reboot', async () => {
  for (const boot of ['boot-1', 'boot-2']) {
    const w = world();
    const guard = await w.start();
    w.jump(10 * 86_400);
    await guard.keep();
    w.jump(-10 * 86_400);
    w.pass(30);
    const again = await w.start(boot);
    await again.keep();
    assert.equal(again.standing(), 'believed', boot);
    assert.deepEqual(w.kinds(), ['clock.doubted', 'clock.accepted']);
  }
});

test('a row with a time to come lets a clock that is ahead pass for an hour or two at most', async () => {
  for (const [jump, standing] of [
    [2 * 3_600, 'believed'],
    [4 * 3_600, 'unproven'],
    [400 * 86_400, 'unproven'],
  ] as const) {
    const w = world();
    await w.start();
    w.jump(jump);
    w.forge(1_800_000_000_000 + 400 * 86_400_000);
    assert.equal((await w.start('boot-2')).standing(), standing, `${jump} s`);
  }
});

test('a doubt that comes into the log after the start counts from then on', async () => {
  const w = world();
  const guard = await w.start();
  w.jump(86_400);
  const other = await w.start();
  await other.keep();
  w.jump(-86_400);
  assert.equal(w.said()?.standing, 'jumped');
  await guard.keep();
  assert.deepEqual(w.kinds(), ['clock.doubted', 'clock.accepted']);
});

test('slow drift does not add up', async () => {
  const w = world();
  const guard = await w.start();
  for (let hour = 0; hour < 100; hour += 1) {
    w.pass(3_601);
    w.jump(2);
    await guard.keep();
  }
  assert.equal(guard.standing(), 'believed');
});

test('after a reboot a clock near the log is believed, behind it is wrong, far ahead of it unproven', async () => {
  for (const [jump, standing] of [
    [-61, 'behind-log'],
    [-59, 'believed'],
    [3_599, 'believed'],
    [3_601, 'unproven'],
    [400 * 86_400, 'unproven'],
  ] as const) {
    const w = world();
    await w.start();
    w.work();
    w.jump(jump);
    const guard = await w.start('boot-2');
    assert.equal(guard.standing(), standing, `${jump} s`);
    assert.equal(guard.jumpedSeconds(), standing === 'believed' ? 0 : jump);
    await guard.keep();
    await guard.keep();
    assert.deepEqual(w.kinds(), ['k', ...(standing === 'believed' ? [] : ['clock.doubted'])]);
  }
});

test('a boot of which nothing is known counts as another one each time', async () => {
  const w = world();
  await w.start('');
  w.work();
  w.pass(86_400);
  assert.equal((await w.start('')).standing(), 'unproven');
});

test('what a doubted clock writes does not end the doubt, nor do restarts and reboots; an operator does', async () => {
  const w = world();
  await w.start();
  w.work();
  w.jump(86_400);
  for (const boot of ['boot-2', 'boot-2', 'boot-3', '']) {
    const guard = await w.start(boot);
    assert.equal(guard.standing(), 'unproven', boot);
    await guard.keep();
    w.work();
  }
  const guard = await w.start('boot-3');
  await guard.accept({ actor: 'uid:0', kind: 'clock.accepted', detail: {} });
  assert.equal(guard.standing(), 'believed');
  w.work();
  w.pass(86_400);
  assert.equal((await w.start('boot-3')).standing(), 'believed');
});

test('a clock behind the log does not become right by waiting, and does by being set', async () => {
  const w = world();
  await w.start();
  w.work();
  w.jump(-7_200);
  const guard = await w.start('boot-2');
  await guard.keep();
  w.pass(2 * 7_200);
  assert.equal(guard.standing(), 'behind-log');
  const again = await w.start('boot-2');
  assert.equal(again.standing(), 'behind-log');
  w.jump(7_200 + 60);
  assert.equal(again.standing(), 'believed');
  await again.keep();
  assert.deepEqual(w.kinds(), ['k', 'clock.doubted', 'clock.accepted']);
  assert.equal((await w.start('boot-2')).standing(), 'believed');
});
