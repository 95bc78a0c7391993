import { hash } from 'node:crypto';
import type { Clock } from '../../common/runtime/index.ts';
import type { IssuanceStore } from '../../store/ports/index.ts';

/** For this long the same ask gets the recorded certificate. */
const repeatSeconds = 60;
const repeatMs = repeatSeconds * 1000;
/** Beyond it the oldest asks are forgotten, and then found in the inventory. */
const maximumRemembered = 50_000;

/** What makes two asks the same one. */
export interface RepeatableAsk {
  /** The name of the requester in the inventory. */
  readonly requester: string;
  /** SHA-256 of the token or certificate that proved the caller, hex. */
  readonly credentialSha256: string;
  readonly csrDer: Buffer;
  /** Of the key in the CSR, hex. */
  readonly publicKeySha256: string;
}

export interface RepeatMemoryDependencies {
  readonly issuance: Pick<IssuanceStore, 'findRequest'>;
  readonly clock: Pick<Clock, 'nowMs' | 'monotonicMs'>;
}

interface Remembered {
  readonly sinceMs: number;
  readonly requestId: Promise<string>;
}

/**
 * Request IDs for clients that send none. Istio's and Linkerd's clients repeat a call with the same
 * CSR when its answer was lost, and Linkerd's send that CSR for the life of a pod. A repetition
 * within `repeatSeconds` has the ID of the first ask, so that the issuer hands out the recorded
 * certificate again; a later one has another ID, and gets a new certificate.
 *
 * The ID follows from the ask and the period of `repeatSeconds` in which it came, so that it also
 * holds after a restart: then the inventory tells whether the ask came in the period before. Owner of
 * the asks of the last `repeatSeconds`.
 */
export class RepeatMemory {
  readonly #dependencies: RepeatMemoryDependencies;
  /** In the order of their arrival. */
  readonly #asks = new Map<string, Remembered>();

  constructor(dependencies: RepeatMemoryDependencies) {
    this.#dependencies = dependencies;
  }

  get size(): number {
    return this.#asks.size;
  }

  requestIdOf(ask: RepeatableAsk): Promise<string> {
    const nowMs = this.#dependencies.clock.monotonicMs();
    this.#forget(nowMs);
    const digest = digestOf(ask);
    const remembered = this.#asks.get(digest);
    if (remembered !== undefined) return remembered.requestId;
    const requestId = this.#find(ask, digest);
    this.#asks.set(digest, { sinceMs: nowMs, requestId });
    // an ask whose look-up failed is looked up again
    requestId.catch(() => this.#asks.delete(digest));
    return requestId;
  }

  async #find(ask: RepeatableAsk, digest: string): Promise<string> {
    const { issuance, clock } = this.#dependencies;
    const nowMs = clock.nowMs();
    const period = Math.floor(nowMs / repeatMs);
    const before = idOf(period - 1, digest);
    const record = await issuance.findRequest(ask.requester, before, ask.publicKeySha256);
    return record !== undefined && record.createdAtMs > nowMs - repeatMs
      ? before
      : idOf(period, digest);
  }

  #forget(nowMs: number): void {
    for (const [digest, { sinceMs }] of this.#asks) {
      if (sinceMs > nowMs - repeatMs && this.#asks.size < maximumRemembered) return;
      this.#asks.delete(digest);
    }
  }
}

/** Each part has its length before it, so that no two asks have the same bytes. */
function digestOf({ requester, credentialSha256, csrDer }: RepeatableAsk): string {
  const parts = [Buffer.from(requester), Buffer.from(credentialSha256), csrDer];
  return hash('sha256', Buffer.concat(parts.flatMap((part) => [lengthOf(part), part])), 'hex');
}

function lengthOf(part: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(part.length);
  return length;
}

/** In the form of a UUIDv7 of the begin of the period, since the index of requests goes by time. */
function idOf(period: number, digest: string): string {
  const time = (period * repeatMs).toString(16).padStart(12, '0');
  const variant = ((Number.parseInt(digest.slice(3, 5), 16) & 0x3f) | 0x80).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${digest.slice(0, 3)}-${variant}${digest.slice(5, 7)}-${digest.slice(7, 19)}`;
}
