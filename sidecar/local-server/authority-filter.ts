import { dotSlashes } from './huffman.ts';

const prefaceBytes = 24;
const frameHeaderBytes = 9;
/**
 * Largest incomplete header block that is kept. A connection with a larger one goes on unfiltered.
 */
const maximumKeptBytes = 16 * 1024;

const headersFrame = 1;
const continuationFrame = 9;
const endHeaders = 0x4;
const padded = 0x8;
const priority = 0x20;

/** RFC 7541 appendix A: the index of `:authority` in the static table. */
const authorityIndex = 1;
const authorityName = Buffer.from(':authority');
const authorityNameHuffman = Buffer.from('b83b5339ec327d7f', 'hex');

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
      if (data[at + 3] !== headersFrame) {
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

interface HeaderBlock {
  /** Views into the data. */
  readonly fragments: readonly Buffer[];
  /** The offset after its last frame. */
  readonly end: number;
}

/**
 * The block of the HEADERS frame at `start` with its CONTINUATIONs. Undefined if it is incomplete.
 */
function headerBlock(data: Buffer, start: number): HeaderBlock | undefined {
  const fragments: Buffer[] = [];
  let at = start;
  for (;;) {
    if (data.length - at < frameHeaderBytes) return undefined;
    // any other frame inside a block is an error, which nghttp2 answers
    if (at > start && data[at + 3] !== continuationFrame) return { fragments, end: at };
    const payload = at + frameHeaderBytes;
    const end = payload + data.readUIntBE(at, 3);
    if (data.length < end) return undefined;
    const flags = data[at + 4] as number;
    fragments.push(
      at > start ? data.subarray(payload, end) : fragmentOf(data, payload, end, flags),
    );
    at = end;
    if ((flags & endHeaders) !== 0) return { fragments, end };
  }
}

/** The payload of a HEADERS frame without padding and priority (RFC 9113 section 6.2). */
function fragmentOf(data: Buffer, start: number, end: number, flags: number): Buffer {
  const isPadded = (flags & padded) !== 0;
  const from = start + (isPadded ? 1 : 0) + ((flags & priority) === 0 ? 0 : 5);
  const to = end - (isPadded ? (data[start] ?? 0) : 0);
  return data.subarray(from, Math.max(from, to));
}

function mendBlock(fragments: readonly Buffer[]): void {
  const [only] = fragments;
  if (fragments.length === 1 && only !== undefined) {
    mendFields(only);
    return;
  }
  const block = Buffer.concat(fragments);
  mendFields(block);
  let at = 0;
  for (const fragment of fragments) {
    block.copy(fragment, 0, at, at + fragment.length);
    at += fragment.length;
  }
}

/** Mends the fields of a block (RFC 7541 section 6). A field that does not parse stays as it is. */
function mendFields(block: Buffer): void {
  const reader = new BlockReader(block);
  while (!reader.ended) {
    const first = block[reader.at] as number;
    if ((first & 0x80) !== 0) reader.integer(7);
    else if ((first & 0xe0) === 0x20) reader.integer(5);
    else {
      const index = reader.integer((first & 0x40) === 0 ? 4 : 6);
      const named = index === 0 ? isAuthorityName(reader.string()) : index === authorityIndex;
      const value = reader.string();
      if (named) mendValue(value);
    }
  }
}

interface Text {
  readonly bytes: Buffer;
  readonly huffman: boolean;
}

const isAuthorityName = ({ bytes, huffman }: Text): boolean =>
  bytes.equals(huffman ? authorityNameHuffman : authorityName);

function mendValue({ bytes, huffman }: Text): void {
  if (huffman) {
    dotSlashes(bytes);
    return;
  }
  for (let index = 0; index < bytes.length; index += 1)
    if (bytes[index] === 0x2f || bytes[index] === 0x20) bytes[index] = 0x2e;
}

/** Reads integers and strings of HPACK (RFC 7541 section 5). Reading past the block ends it. */
class BlockReader {
  readonly #block: Buffer;
  at = 0;

  constructor(block: Buffer) {
    this.#block = block;
  }

  get ended(): boolean {
    return this.at >= this.#block.length;
  }

  integer(prefixBits: number): number {
    const most = 2 ** prefixBits - 1;
    let value = (this.#block[this.at] ?? 0) & most;
    this.at += 1;
    if (value < most) return value;
    for (let factor = 1; !this.ended && factor <= 2 ** 28; factor *= 128) {
      const byte = this.#block[this.at] as number;
      this.at += 1;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
    this.at = this.#block.length;
    return value;
  }

  string(): Text {
    const huffman = ((this.#block[this.at] ?? 0) & 0x80) !== 0;
    const length = this.integer(7);
    const bytes = this.#block.subarray(this.at, this.at + length);
    this.at += length;
    return { bytes, huffman };
  }
}
