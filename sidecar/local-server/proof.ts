import type { Clock } from '../../src/common/runtime/index.ts';

/** What became of a message. One of these is called, once. */
export interface Outcome {
  read(): void;
  /** The reader can't use it and keeps what it had. */
  refused(reason: string): void;
}

/** Finds out what became of the message that is under way; there is one at a time. */
export interface DeliveryProof {
  /** The message with this nonce was handed to the stream. */
  begin(nonce: string, outcome: Outcome): void;
  /** The kernel has its bytes. */
  written(): void;
  /** The outcome does not matter any more. */
  close(): void;
}

const firstPollMs = 1;
const slowestPollMs = 250;

/**
 * The write callback says that the kernel has the bytes (HTTP/2 flow control of the reader
 * included), and SIOCOUTQ at 0 that the process on the other end took them. An HTTP/2 PING would
 * tell less, since flow control does not hold it back.
 */
export function kernelProof(unreadBytes: () => number | undefined, clock: Clock): DeliveryProof {
  let outcome: Outcome | undefined;
  let cancelPoll = (): void => {};

  const look = (pollMs: number): void => {
    if (outcome === undefined) return;
    const unread = unreadBytes();
    if (unread === undefined) return;
    if (unread > 0) {
      cancelPoll = clock.after(pollMs, () => look(Math.min(pollMs * 2, slowestPollMs)));
      return;
    }
    const { read } = outcome;
    outcome = undefined;
    read();
  };

  return {
    begin(_nonce, next) {
      outcome = next;
    },
    written: () => look(firstPollMs),
    close() {
      outcome = undefined;
      cancelPoll();
    },
  };
}

/** The reader answers each message by its nonce. Answers to other messages are passed over. */
export interface AckProof extends DeliveryProof {
  acknowledge(nonce: string): void;
  refuse(nonce: string, reason: string): void;
}

export function ackProof(): AckProof {
  let pending: { readonly nonce: string; readonly outcome: Outcome } | undefined;
  const settle = (nonce: string): Outcome | undefined => {
    if (pending?.nonce !== nonce) return undefined;
    const { outcome } = pending;
    pending = undefined;
    return outcome;
  };
  return {
    begin(nonce, outcome) {
      pending = { nonce, outcome };
    },
    written: () => {},
    close() {
      pending = undefined;
    },
    acknowledge: (nonce) => settle(nonce)?.read(),
    refuse: (nonce, reason) => settle(nonce)?.refused(reason),
  };
}
