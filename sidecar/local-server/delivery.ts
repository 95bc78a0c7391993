import type { ServerWritableStream } from '@grpc/grpc-js';
import { PkiError } from '../../src/common/errors/index.ts';
import type { Clock } from '../../src/common/runtime/index.ts';
import type { DeliveryProof } from './proof.ts';

export interface Message {
  /** Encoded. */
  readonly bytes: Buffer;
  onSent(): void;
  /** The reader has it. */
  onRead(afterMs: number): void;
  /** The reader can't use it and keeps what it had. */
  onRefused(reason: string): void;
}

export interface DeliveryOptions {
  readonly call: Pick<ServerWritableStream<unknown, Buffer>, 'write'>;
  /**
   * Makes a message with this nonce of the newest state, after all checks of the peer. Undefined if
   * nothing is new. A throw ends the stream.
   */
  readonly produce: (nonce: string) => Promise<Message | undefined>;
  readonly proof: DeliveryProof;
  readonly onError: (error: PkiError) => void;
  /** The reader gave no proof for `stallMs`. */
  readonly onStall: () => void;
  readonly clock: Clock;
  readonly stallMs: number;
}

/**
 * Delivers one message at a time. The next message is made when the reader has the one before, from
 * the state of that moment. So a slow reader costs one message and gets the newest state, never a
 * backlog.
 */
export class Delivery {
  readonly #options: DeliveryOptions;
  #busy = false;
  #dirty = false;
  #stopped = false;
  #nonces = 0;
  #cancelStall = (): void => {};

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /**
   * Call it when something may be new. Any number of calls during a delivery lead to one newer
   * message.
   */
  changed(): void {
    if (this.#stopped) return;
    if (this.#busy) {
      this.#dirty = true;
      return;
    }
    this.#busy = true;
    this.#dirty = false;
    void this.#run();
  }

  close(): void {
    this.#stopped = true;
    this.#cancelStall();
    this.#options.proof.close();
  }

  async #run(): Promise<void> {
    try {
      this.#nonces += 1;
      const nonce = String(this.#nonces);
      const message = await this.#options.produce(nonce);
      if (this.#stopped) return;
      if (message === undefined) this.#idle();
      else this.#send(message, nonce);
    } catch (thrown) {
      if (!this.#stopped) this.#options.onError(PkiError.from(thrown));
    }
  }

  #send(message: Message, nonce: string): void {
    const { call, clock, proof, stallMs, onStall } = this.#options;
    const startMs = clock.monotonicMs();
    this.#cancelStall = clock.after(stallMs, () => {
      if (!this.#stopped) onStall();
    });
    message.onSent();
    proof.begin(nonce, {
      read: () => this.#settle(() => message.onRead(clock.monotonicMs() - startMs)),
      refused: (reason) => this.#settle(() => message.onRefused(reason)),
    });
    call.write(message.bytes, () => proof.written());
  }

  #settle(tell: () => void): void {
    this.#cancelStall();
    tell();
    this.#idle();
  }

  #idle(): void {
    this.#busy = false;
    if (this.#dirty && !this.#stopped) this.changed();
  }
}
