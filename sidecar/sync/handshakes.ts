import type { HandshakeReport } from '../../src/common/wire/generated/meshca/issuer/v1/HandshakeReport.ts';
import type { HandshakeCount } from '../ports/handshakes.ts';

/** The server keeps 2,000 of one agent, and takes 1,000 in one message. */
const maximumHeld = 2000;
const messageSize = 500;

/**
 * Counters of handshakes on their way to the server: the newest per consumer and issuer, all of
 * them again on a new stream. Owner of them.
 */
export class HandshakeCounts {
  readonly #onDirty: () => void;
  readonly #held = new Map<string, HandshakeCount>();
  readonly #dirty = new Set<string>();

  constructor(onDirty: () => void) {
    this.#onDirty = onDirty;
  }

  record(count: HandshakeCount): void {
    const key = `${count.consumerId} ${count.issuerKeyId.toString('hex')}`;
    if (!this.#held.has(key) && this.#held.size >= maximumHeld) return;
    this.#held.set(key, count);
    this.#dirty.add(key);
    this.#onDirty();
  }

  /** The consumer is gone. */
  forget(consumerId: string): void {
    for (const [key, count] of this.#held) {
      if (count.consumerId !== consumerId) continue;
      this.#held.delete(key);
      this.#dirty.delete(key);
    }
  }

  drain(): readonly HandshakeReport[] | undefined {
    if (this.#dirty.size === 0) return undefined;
    const keys = [...this.#dirty].slice(0, messageSize);
    for (const key of keys) this.#dirty.delete(key);
    return keys.flatMap((key) => {
      const count = this.#held.get(key);
      return count === undefined ? [] : [{ ...count, reasons: { ...count.reasons } }];
    });
  }

  /** A new stream has begun: the server has forgotten what an earlier one said. */
  requeue(): void {
    for (const key of this.#held.keys()) this.#dirty.add(key);
  }
}
