import type { ServerWritableStream } from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock } from '../../src/common/runtime/index.ts';

export interface Message {
  /** Encoded. */
  readonly bytes: Buffer;
  onSent(): void;
  /** The reader has taken it. */
  onRead(afterMs: number): void;
}

export interface DeliveryOptions {
  readonly call: Pick<ServerWritableStream<unknown, Buffer>, 'write'>;
  /**
   * The newest state as a message, after all checks of the peer; undefined: nothing new to tell. A
   * throw ends the stream.
   */
  readonly produce: () => Promise<Message | undefined>;
  readonly unreadBytes: () => number | undefined;
  readonly onError: (error: PkiError) => void;
  /** The reader took nothing for `stallMs`. */
  readonly onStall: () => void;
  readonly clock: Clock;
  readonly stallMs: number;
}

export interface Delivery {
  /**
   * There may be something new. Any number of calls while a message is under way lead to one newer
   * message.
   */
  changed(): void;
  stop(): void;
}

const firstPollMs = 1;
const slowestPollMs = 250;

/**
 * One message at a time: the next is made, from the state of that moment, only when the reader has
 * taken the one before. So a slow reader costs one message and gets the newest state, never a
 * backlog.
 *
 * Proof of reading: the write callback says that the kernel has the bytes (HTTP/2 flow control of
 * the reader included), and SIOCOUTQ at 0 that the process on the other end took them. An HTTP/2
 * PING would tell less, since flow control does not hold it back.
 */
export function startDelivery(options: DeliveryOptions): Delivery {
  const { call, clock } = options;
  let busy = false;
  let dirty = false;
  let stopped = false;
  let cancelTimers: (() => void)[] = [];

  const clear = (): void => {
    for (const cancel of cancelTimers) cancel();
    cancelTimers = [];
  };

  const idle = (): void => {
    busy = false;
    if (dirty && !stopped) changed();
  };

  const read = (message: Message, startMs: number): void => {
    clear();
    message.onRead(clock.monotonicMs() - startMs);
    idle();
  };

  const await0 = (message: Message, startMs: number, pollMs: number): void => {
    if (stopped) return;
    const unread = options.unreadBytes();
    if (unread === undefined) return;
    if (unread === 0) return read(message, startMs);
    cancelTimers[1] = clock.after(pollMs, () =>
      await0(message, startMs, Math.min(pollMs * 2, slowestPollMs)),
    );
  };

  const send = (message: Message): void => {
    const startMs = clock.monotonicMs();
    cancelTimers[0] = clock.after(options.stallMs, () => {
      if (!stopped) options.onStall();
    });
    message.onSent();
    call.write(message.bytes, () => await0(message, startMs, firstPollMs));
  };

  const run = async (): Promise<void> => {
    try {
      const message = await options.produce();
      if (stopped) return;
      if (message === undefined) idle();
      else send(message);
    } catch (thrown) {
      if (!stopped) options.onError(PkiError.from(thrown));
    }
  };

  const changed = (): void => {
    if (stopped) return;
    if (busy) {
      dirty = true;
      return;
    }
    busy = true;
    dirty = false;
    void run();
  };

  return {
    changed,
    stop() {
      stopped = true;
      clear();
    },
  };
}
