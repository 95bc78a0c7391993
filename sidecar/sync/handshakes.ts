import type { HandshakeReport } from '../../src/common/wire/generated/meshca/issuer/v1/HandshakeReport.ts';
import type { HandshakeCount } from '../ports/handshakes.ts';

/** The server keeps 2,000 of one agent, and admits 1,000 in one message. */
const maximumHeld = 2000;
const messageSize = 500;

/**
 * Counters of handshakes to be reported to the server: the newest per consumer and issuer, and all
 * of them again on a new stream. Owner of the counters.
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

  /** Forgets the counters of a consumer that left. */
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

  /** Reports all counters again on a new stream, since the server forgets a stream that ended. */
  requeue(): void {
    for (const key of this.#held.keys()) this.#dirty.add(key);
  }
}
