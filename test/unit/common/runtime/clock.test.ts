import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../../src/common/runtime/index.ts';

/** Keeps the event loop awake, so that a timer of Node is looked at as soon as it may fire. */
async function whileAwake<T>(work: Promise<T>): Promise<T> {
  let done = false;
  const awake = (): void => {
    if (!done) setImmediate(awake);
  };
  awake();
  try {
    return await work;
  } finally {
    done = true;
  }
}

const delays = Array.from({ length: 200 }, (_, index) => 1 + index / 40);

test('no timer calls back early by the monotonic clock', async () => {
  await whileAwake(
    Promise.all(
      delays.map(async (delayMs) => {
        const dueMs = systemClock.monotonicMs() + delayMs;
        await new Promise<void>((resolve) => systemClock.after(delayMs, resolve));
        assert.ok(systemClock.monotonicMs() >= dueMs, `${delayMs} ms`);
      }),
    ),
  );
});

test('no sleep ends early by the monotonic clock', async () => {
  await whileAwake(
    Promise.all(
      delays.map(async (delayMs) => {
        const dueMs = systemClock.monotonicMs() + delayMs;
        await systemClock.sleep(delayMs);
        assert.ok(systemClock.monotonicMs() >= dueMs, `${delayMs} ms`);
      }),
    ),
  );
});

test('a timer that is cancelled does not call back', async () => {
  let calls = 0;
  const cancel = systemClock.after(1, () => (calls += 1));
  cancel();
  await systemClock.sleep(5);
  assert.equal(calls, 0);
});

test('an abort ends a sleep with its reason', async () => {
  const abort = new AbortController();
  const sleeping = systemClock.sleep(60_000, { signal: abort.signal });
  abort.abort(new Error('enough'));
  await assert.rejects(sleeping, /enough/);
});
