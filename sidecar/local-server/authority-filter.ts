import { frameHeaderBytes, frameTypes, headerBlock, isAck, mendBlock } from './frames.ts';

const prefaceBytes = 24;
/**
 * Largest incomplete header block that is kept. A connection with a larger one goes on unfiltered.
 */
const maximumKeptBytes = 16 * 1024;

/**
 * Makes the `:authority` of gRPC clients in Java acceptable. On a Unix socket they send the path of
 * the socket, and nghttp2 resets a stream whose authority has a slash or a blank. This filter reads
 * the bytes that the client sends and replaces each slash and blank by a dot. A dot has the same
 * length, both raw and in HPACK's Huffman code, so no length and no dynamic table changes. No
 * decision rests on the authority of a call.
 *
 * The filter leaves an authority whose name is given by an index of the dynamic table: no encoder
 * does that for a name in the static table.
 */
export class AuthorityFilter {
  #passBytes = prefaceBytes;
  #kept: Buffer | undefined;
  #transparent = false;
  #dropsAck: boolean;

  /** `greeted`: the client was sent SETTINGS that node:http2 knows nothing of; its answer is dropped. */
  constructor(greeted = false) {
    this.#dropsAck = greeted;
  }

  /** Returns the bytes to pass on. An incomplete header block is kept until its rest arrives. */
  push(chunk: Buffer): Buffer {
    if (this.#transparent) return chunk;
    const data = this.#kept === undefined ? chunk : Buffer.concat([this.#kept, chunk]);
    let at = 0;
    while (at < data.length) {
      if (this.#passBytes > 0) {
        const passed = Math.min(this.#passBytes, data.length - at);
        this.#passBytes -= passed;
        at += passed;
        continue;
      }
      if (data.length - at < frameHeaderBytes) break;
      if (this.#dropsAck && isAck(data, at)) {
        this.#dropsAck = false;
        this.#kept = undefined;
        const rest = this.push(data.subarray(at + frameHeaderBytes));
        return Buffer.concat([data.subarray(0, at), rest]);
      }
      if (data[at + 3] !== frameTypes.headers) {
        this.#passBytes = frameHeaderBytes + data.readUIntBE(at, 3);
        continue;
      }
      const block = headerBlock(data, at);
      if (block === undefined) break;
      mendBlock(block.fragments);
      at = block.end;
    }
    if (data.length - at > maximumKeptBytes) {
      this.#transparent = true;
      at = data.length;
    }
    this.#kept = at < data.length ? data.subarray(at) : undefined;
    return data.subarray(0, at);
  }
}
