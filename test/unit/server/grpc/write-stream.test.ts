import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import type { WritableCall } from '../../../../src/server/grpc/call.ts';
import { writeStream } from '../../../../src/server/grpc/write-stream.ts';

/** A call whose reader takes `room` messages before it blocks. */
class FakeCall extends EventEmitter {
  readonly written: unknown[] = [];
  ended = false;
  room: number;

  constructor(room: number) {
    super();
    this.room = room;
  }

  write(item: unknown): boolean {
    this.written.push(item);
    this.room -= 1;
    return this.room > 0;
  }

  end(): void {
    this.ended = true;
  }

  drain(room: number): void {
    this.room = room;
    this.emit('drain');
  }
}

const turns = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function* numbers(count: number): AsyncGenerator<number> {
  for (let index = 1; index <= count; index += 1) yield index;
}

const write = (
  call: FakeCall,
  open: Parameters<typeof writeStream>[1],
  fail: (thrown: unknown) => void = (thrown) => assert.fail(String(thrown)),
): void => writeStream(call as unknown as WritableCall, open, fail);

test('items are written as fast as the reader takes them, and the call ends after the last', async () => {
  const call = new FakeCall(2);
  write(call, async () => numbers(3));
  await turns();
  assert.deepEqual([call.written, call.ended], [[1, 2], false]);
  call.drain(5);
  await turns();
  assert.deepEqual([call.written, call.ended], [[1, 2, 3], true]);
});

test('a call that is over aborts the signal and takes no more items, blocked or not', async () => {
  for (const room of [1, 5]) {
    const call = new FakeCall(room);
    let signal: AbortSignal | undefined;
    let next: () => void = () => {};
    write(call, async (given) => {
      signal = given;
      return (async function* () {
        yield 1;
        await new Promise<void>((resolve) => (next = resolve));
        yield 2;
      })();
    });
    await turns();
    call.emit('cancelled');
    next();
    await turns();
    assert.deepEqual([call.written, signal?.aborted], [[1], true]);
  }
});

test('what can not be opened, or breaks on the way, fails the call', async () => {
  const thrown: string[] = [];
  const fail = (error: unknown): void => void thrown.push((error as Error).message);
  write(new FakeCall(5), () => Promise.reject(new Error('closed')), fail);
  await turns();
  const call = new FakeCall(5);
  write(
    call,
    async () =>
      (async function* () {
        yield 1;
        throw new Error('broken');
      })(),
    fail,
  );
  await turns();
  assert.deepEqual([thrown, call.written, call.ended], [['closed', 'broken'], [1], false]);
});
