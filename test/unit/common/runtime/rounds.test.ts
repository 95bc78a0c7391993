import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { suite, test } from 'node:test';
import { Rounds } from '../../../../src/common/runtime/index.ts';
import { FakeClock } from '../../../support/agent.ts';

function world() {
  const clock = new FakeClock();
  const begun: number[] = [];
  const errors: unknown[] = [];
  const state = { failing: false, thrown: undefined as Error | undefined };
  let release: (() => void) | undefined;
  let held: Promise<void> | undefined;
  const rounds = new Rounds({
    clock,
    everyMs: 60_000,
    work: async () => {
      begun.push(clock.monotonicMs());
      await held;
      if (state.thrown !== undefined) throw state.thrown;
      return state.failing;
    },
    onError: (thrown) => errors.push(thrown),
  });
  return {
    ...{ clock, begun, errors, state, rounds },
    hold: () => {
      held = new Promise((resolve) => (release = resolve));
    },
    goOn: () => {
      held = undefined;
      release?.();
    },
    pass: async (milliseconds: number) => {
      clock.advance(milliseconds);
      await setImmediate();
    },
  };
}

suite('rounds of work', () => {
  test('come at intervals, and soon after a change', async () => {
    const { rounds, begun, pass } = world();
    await rounds.run();
    await pass(59_999);
    assert.deepEqual(begun, [0]);
    await pass(1);
    assert.deepEqual(begun, [0, 60_000]);
    rounds.changed();
    await pass(20);
    assert.deepEqual(begun, [0, 60_000, 60_020]);
    await rounds.close();
  });

  test('are not put off by changes that do not end', async () => {
    const { rounds, begun, pass } = world();
    await rounds.run();
    for (let at = 0; at < 100; at += 5) {
      rounds.changed();
      await pass(5);
    }
    assert.deepEqual(begun, [0, 20, 40, 60, 80, 100]);
    await rounds.close();
  });

  test('are one at a time: what changes during one has another one', async () => {
    const { rounds, begun, pass, hold, goOn } = world();
    hold();
    const first = rounds.run();
    rounds.changed();
    await pass(1_000);
    assert.deepEqual(begun, [0]);
    goOn();
    await first;
    await pass(20);
    assert.deepEqual(begun, [0, 1_020]);
    await pass(59_000);
    assert.deepEqual(begun, [0, 1_020], 'the change had its round');
    await rounds.close();
  });

  test('are repeated after a failure, and a change then comes before that, but not at once', async () => {
    const { rounds, begun, state, pass } = world();
    state.failing = true;
    await rounds.run();
    await pass(4_999);
    assert.deepEqual(begun, [0]);
    await pass(1);
    assert.deepEqual(begun, [0, 5_000]);
    for (let at = 0; at < 1_000; at += 10) {
      rounds.changed();
      await pass(10);
    }
    assert.deepEqual(begun, [0, 5_000, 5_500, 6_000]);
    state.failing = false;
    await pass(490);
    rounds.changed();
    await pass(20);
    assert.deepEqual(begun.slice(4), [6_510]);
    rounds.changed();
    await pass(20);
    assert.deepEqual(begun.slice(5), [6_530]);
    await rounds.close();
  });

  test('go on after an error, which is told once', async () => {
    const { rounds, begun, errors, state, pass } = world();
    state.thrown = new Error('the disk is full');
    await rounds.run();
    assert.deepEqual(errors, [state.thrown]);
    state.thrown = undefined;
    await pass(5_000);
    assert.deepEqual(begun, [0, 5_000]);
    await rounds.close();
  });

  test('end with the present one', async () => {
    const { rounds, begun, pass, hold, goOn } = world();
    hold();
    const first = rounds.run();
    rounds.changed();
    const closed = rounds.close();
    goOn();
    await Promise.all([first, closed]);
    rounds.changed();
    await rounds.run();
    await pass(100_000);
    assert.deepEqual(begun, [0]);
  });
});
