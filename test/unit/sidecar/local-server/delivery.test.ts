import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { systemClock, type Clock } from '../../../../src/common/runtime/index.ts';
import { Delivery, type DeliveryOptions } from '../../../../sidecar/local-server/delivery.ts';
import { ackProof, kernelProof } from '../../../../sidecar/local-server/proof.ts';

// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
function setUp(change: Partial<DeliveryOptions> = {}) {
  let nowMs = 0;
  const timers = new Set<{ readonly atMs: number; readonly run: () => void }>();
  const clock: Clock = {
    ...systemClock,
    monotonicMs: () => nowMs,
    after(delayMs, run) {
      const timer = { atMs: nowMs + delayMs, run };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const state = {
    value: 'a',
    nonce: '',
    unread: 10 as number | undefined,
    writes: [] as string[],
    read: [] as string[],
    written: [] as (() => void)[],
    refused: [] as string[],
    stalled: 0,
    errors: [] as string[],
  };
  const delivery = new Delivery({
    clock,
    stallMs: 30_000,
    call: {
      write(bytes: Buffer, callback: () => void) {
        state.writes.push(bytes.toString());
        state.written.push(callback);
        return true;
      },
    } as unknown as DeliveryOptions['call'],
    produce: async (nonce) => {
      const { value } = state;
      state.nonce = nonce;
      return {
        bytes: Buffer.from(value),
        onSent: () => {},
        onRead: () => void state.read.push(value),
        onRefused: (reason) => void state.refused.push(`${value} ${reason}`),
      };
    },
    proof: kernelProof(() => state.unread, clock),
    onError: (error) => void state.errors.push(error.code),
    onStall: () => void (state.stalled += 1),
    ...change,
  });
  return {
    state,
    delivery,
    timers,
    async advance(ms: number): Promise<void> {
      await settle();
      const end = nowMs + ms;
      for (;;) {
        const next = [...timers]
          .filter((each) => each.atMs <= end)
          .sort((one, other) => one.atMs - other.atMs)[0];
        if (next === undefined) break;
        nowMs = next.atMs;
        timers.delete(next);
        next.run();
        await settle();
      }
      nowMs = end;
      await settle();
    },
  };
}

const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

test('while one message is under way any number of changes become one message with the newest state', async () => {
  const { state, delivery, advance } = setUp();
  delivery.changed();
  await settle();
  for (const value of ['b', 'c', 'd']) {
    state.value = value;
    delivery.changed();
  }
  await settle();
  assert.deepEqual(state.writes, ['a']);
  state.written[0]?.();
  await advance(100);
  assert.deepEqual(
    [state.writes, state.read],
    [['a'], []],
    'the kernel has it, the reader has not',
  );
  state.unread = 0;
  await advance(500);
  assert.deepEqual([state.writes, state.read], [['a', 'd'], ['a']]);
});

test('nothing counts as read before the write went through, even when the socket is empty', async () => {
  const { state, delivery, advance } = setUp();
  state.unread = 0;
  delivery.changed();
  await advance(29_999);
  assert.deepEqual([state.read, state.stalled], [[], 0]);
  await advance(1);
  assert.equal(state.stalled, 1);
});

test('a reader that takes nothing for the stall time is reported once, one that takes it in time is not', async () => {
  const slow = setUp();
  slow.delivery.changed();
  await settle();
  slow.state.written[0]?.();
  await slow.advance(29_000);
  slow.state.unread = 0;
  await slow.advance(100_000);
  assert.deepEqual([slow.state.stalled, slow.state.read, slow.timers.size], [0, ['a'], 0]);

  const stuck = setUp();
  stuck.delivery.changed();
  await settle();
  stuck.state.written[0]?.();
  await stuck.advance(30_000);
  assert.equal(stuck.state.stalled, 1);
});

test('a state that can not be made ends the stream with its error, and after a stop nothing happens', async () => {
  const failing = setUp({ produce: () => Promise.reject(new PkiError('NO_IDENTITY', 'gone')) });
  failing.delivery.changed();
  await settle();
  assert.deepEqual(failing.state.errors, ['NO_IDENTITY']);

  const stopped = setUp();
  stopped.delivery.changed();
  stopped.delivery.close();
  await stopped.advance(100_000);
  assert.deepEqual([stopped.state.writes, stopped.state.stalled, stopped.timers.size], [[], 0, 0]);
});

test('a connection that closed confirms nothing', async () => {
  const { state, delivery, advance } = setUp();
  delivery.changed();
  await settle();
  state.unread = undefined;
  state.written[0]?.();
  await advance(1000);
  assert.deepEqual(state.read, []);
});

test('with proof by ACK a message counts as read when its own nonce comes back, read or not by the kernel', async () => {
  const proof = ackProof();
  const { state, delivery, advance } = setUp({ proof });
  delivery.changed();
  await settle();
  state.unread = 0;
  state.written[0]?.();
  await advance(1000);
  assert.deepEqual(state.read, [], 'an empty socket proves nothing here');
  const { nonce } = state;
  state.value = 'b';
  delivery.changed();
  proof.acknowledge(`${nonce}0`);
  await advance(1000);
  assert.deepEqual([state.read, state.writes], [[], ['a']]);
  proof.acknowledge(nonce);
  proof.acknowledge(nonce);
  await advance(0);
  assert.deepEqual([state.read, state.writes], [['a'], ['a', 'b']]);
  assert.notEqual(state.nonce, nonce);
});

test('a NACK ends the wait for a message, tells its reason, and lets the next change out', async () => {
  const proof = ackProof();
  const { state, delivery, advance } = setUp({ proof });
  delivery.changed();
  await settle();
  proof.refuse(state.nonce, 'no such key');
  await advance(100_000);
  assert.deepEqual([state.read, state.refused, state.stalled], [[], ['a no such key'], 0]);
  state.value = 'b';
  delivery.changed();
  await settle();
  assert.deepEqual(state.writes, ['a', 'b']);
  await advance(30_000);
  assert.equal(state.stalled, 1, 'a reader that never answers has stalled');
});
