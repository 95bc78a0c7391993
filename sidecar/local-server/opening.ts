import { frameTypes, headerBlock, isAck, frameHeaderBytes, hasPlainAuthority } from './frames.ts';

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
/** A client that sends more before its first request is complete is served by the filter. */
const maximumBytes = 16 * 1024;

/**
 * What to do with a connection whose client has sent this much.
 *
 * - `wait`: for more.
 * - `greet`: send SETTINGS, since most clients wait for them before their first request.
 * - `direct`: node:http2 may read the socket itself. It gets `bytes`, the ones read so far without
 *   the answer to the greeting.
 * - `filtered`: the bytes of this client have to pass the filter.
 */
export type OpeningStep =
  | { readonly kind: 'wait' | 'greet' | 'filtered' }
  | { readonly kind: 'direct'; readonly bytes: Buffer };

/**
 * The bytes of a client up to its first request. The `:authority` of that request tells how the
 * client names the socket, and so whether its bytes need the filter.
 */
export class Opening {
  #bytes: Buffer = Buffer.alloc(0);
  #at = preface.length;
  #sawSettings = false;
  #greeted = false;
  #ackAt: number | undefined;

  /** All that was read so far. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /** Whether the client was sent SETTINGS that node:http2 knows nothing of. */
  get greeted(): boolean {
    return this.#greeted;
  }

  push(chunk: Buffer): OpeningStep {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const bytes = this.#bytes;
    const begun = Math.min(bytes.length, preface.length);
    if (bytes.compare(preface, 0, begun, 0, begun) !== 0) return { kind: 'filtered' };
    while (bytes.length - this.#at >= frameHeaderBytes) {
      const type = bytes[this.#at + 3];
      if (type === frameTypes.headers) return this.#firstRequest();
      if (type !== frameTypes.settings && type !== frameTypes.windowUpdate)
        return { kind: 'filtered' };
      const end = this.#at + frameHeaderBytes + bytes.readUIntBE(this.#at, 3);
      if (end > bytes.length) break;
      if (type === frameTypes.settings && !this.#takeSettings()) return { kind: 'filtered' };
      this.#at = end;
    }
    if (bytes.length > maximumBytes) return { kind: 'filtered' };
    if (!this.#sawSettings || this.#greeted) return { kind: 'wait' };
    this.#greeted = true;
    return { kind: 'greet' };
  }

  /** False: it answers SETTINGS that were not sent. */
  #takeSettings(): boolean {
    this.#sawSettings = true;
    if (!isAck(this.#bytes, this.#at)) return true;
    if (!this.#greeted || this.#ackAt !== undefined) return false;
    this.#ackAt = this.#at;
    return true;
  }

  #firstRequest(): OpeningStep {
    const bytes = this.#bytes;
    const block = headerBlock(bytes, this.#at);
    if (block === undefined) return { kind: bytes.length > maximumBytes ? 'filtered' : 'wait' };
    // it did not wait for the greeting, whose answer is still to come
    if (this.#greeted && this.#ackAt === undefined) return { kind: 'filtered' };
    if (!hasPlainAuthority(block.fragments)) return { kind: 'filtered' };
    return { kind: 'direct', bytes: this.#withoutAck() };
  }

  #withoutAck(): Buffer {
    const at = this.#ackAt;
    return at === undefined
      ? this.#bytes
      : Buffer.concat([this.#bytes.subarray(0, at), this.#bytes.subarray(at + frameHeaderBytes)]);
  }
}
