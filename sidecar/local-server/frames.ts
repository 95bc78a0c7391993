import { dotSlashes, isPlain } from './huffman.ts';

export const frameHeaderBytes = 9;
/** RFC 9113 section 6, as far as they are looked at. */
export const frameTypes = { headers: 1, settings: 4, windowUpdate: 8, continuation: 9 } as const;

const ack = 0x1;
const endHeaders = 0x4;
const padded = 0x8;
const priority = 0x20;

/** RFC 7541 appendix A: the index of `:authority` in the static table. */
const authorityIndex = 1;
const authorityName = Buffer.from(':authority');
const authorityNameHuffman = Buffer.from('b83b5339ec327d7f', 'hex');

/** Whether the frame at `at` answers SETTINGS. */
export const isAck = (data: Buffer, at: number): boolean =>
  data[at + 3] === frameTypes.settings &&
  ((data[at + 4] as number) & ack) !== 0 &&
  data.readUIntBE(at, 3) === 0;

export interface HeaderBlock {
  /** Views into the data. */
  readonly fragments: readonly Buffer[];
  /** The offset after its last frame. */
  readonly end: number;
}

/**
 * The block of the HEADERS frame at `start` with its CONTINUATIONs. Undefined if it is incomplete.
 */
export function headerBlock(data: Buffer, start: number): HeaderBlock | undefined {
  const fragments: Buffer[] = [];
  let at = start;
  for (;;) {
    if (data.length - at < frameHeaderBytes) return undefined;
    // any other frame inside a block is an error, which nghttp2 answers
    if (at > start && data[at + 3] !== frameTypes.continuation) return { fragments, end: at };
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

/** Puts dots for slashes and blanks in each `:authority`. */
export function mendBlock(fragments: readonly Buffer[]): void {
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

/** Whether each `:authority` of the block is one that node:http2 takes as it is. */
export const hasPlainAuthority = (fragments: readonly Buffer[]): boolean =>
  authoritiesIn(joined(fragments)).every(({ bytes, huffman }) =>
    huffman ? isPlain(bytes) : /^[A-Za-z0-9.:_-]*$/.test(bytes.toString('latin1')),
  );

const joined = (fragments: readonly Buffer[]): Buffer => {
  const [only] = fragments;
  return fragments.length === 1 && only !== undefined ? only : Buffer.concat(fragments);
};

/** Mends the fields of a block (RFC 7541 section 6). A field that does not parse stays as it is. */
function mendFields(block: Buffer): void {
  for (const value of authoritiesIn(block)) mendValue(value);
}

/** The values of `:authority` that the block spells out; views into it. */
function authoritiesIn(block: Buffer): readonly Text[] {
  const found: Text[] = [];
  const reader = new BlockReader(block);
  while (!reader.ended) {
    const first = block[reader.at] as number;
    if ((first & 0x80) !== 0) reader.integer(7);
    else if ((first & 0xe0) === 0x20) reader.integer(5);
    else {
      const index = reader.integer((first & 0x40) === 0 ? 4 : 6);
      const named = index === 0 ? isAuthorityName(reader.string()) : index === authorityIndex;
      const value = reader.string();
      if (named) found.push(value);
    }
  }
  return found;
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
