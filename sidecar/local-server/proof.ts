import type { Clock } from '../../src/common/runtime/index.ts';

/** The outcome of a message. One of these is called, once. */
export interface Outcome {
  read(): void;
  /** The reader can't use it and keeps what it had. */
  refused(reason: string): void;
}

/** Determines the outcome of the message under way. There is one at a time. */
export interface DeliveryProof {
  /** Call it when the message with this nonce was handed to the stream. */
  begin(nonce: string, outcome: Outcome): void;
  /** Call it when the kernel has its bytes. */
  written(): void;
  /** Call it when the outcome no longer matters. */
  close(): void;
}

const firstPollMs = 1;
const slowestPollMs = 250;

/**
 * The write callback proves that the kernel has the bytes, within the reader's HTTP/2 flow control.
 * SIOCOUTQ at 0 proves that the process at the other end has read them. An HTTP/2 PING would prove
 * less, since flow control does not hold it back.
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

/** The reader answers each message by its nonce. Answers to other messages are ignored. */
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
