import type { ErrorCode } from '../errors/index.ts';
import { fail, type Result } from '../errors/index.ts';

/**
 * Thrown by DerReader and by parsers built on it, never past them: `parsing` turns it into a
 * result.
 */
export class DerError extends Error {
  override readonly name = 'DerError';
}

/**
 * Runs a parser; a DerError becomes a failed result with this code, anything else is a defect and
 * is thrown on.
 */
export function parsing<T>(code: ErrorCode, parse: () => Result<T>): Result<T> {
  try {
    return parse();
  } catch (thrown) {
    if (thrown instanceof DerError) return fail(code, thrown.message);
    throw thrown;
  }
}

/** Tags of the universal class, constructed where DER wants it. */
export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  /** Context-specific, constructed: EXPLICIT, or IMPLICIT over a constructed type. */
  context: (number: number): number => 0xa0 | number,
  /** Context-specific, primitive. */
  contextPrimitive: (number: number): number => 0x80 | number,
} as const;

/**
 * A strict DER reader (X.690 section 10) over one buffer: definite lengths in their shortest form,
 * single-octet tags, every container consumed to its end by `end()`. It moves two offsets and
 * copies nothing; slices are views.
 */
export class DerReader {
  readonly #bytes: Buffer;
  #offset: number;
  #end: number;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#offset = start;
    this.#end = end;
  }

  get offset(): number {
    return this.#offset;
  }

  get more(): boolean {
    return this.#offset < this.#end;
  }

  /** The next tag octet, or -1 at the end. */
  peek(): number {
    return this.#offset < this.#end ? (this.#bytes[this.#offset] as number) : -1;
  }

  end(what: string): void {
    if (this.#offset !== this.#end)
      throw new DerError(`${this.#end - this.#offset} bytes follow ${what}`);
  }

  /** Reads tag and length and stands before the content; returns the offset behind the content. */
  #header(wanted: number, what: string): number {
    const bytes = this.#bytes;
    let at = this.#offset;
    if (at + 2 > this.#end) throw new DerError(`${what} is missing or cut off`);
    const found = bytes[at] as number;
    if (found !== wanted)
      throw new DerError(`${what} has tag 0x${found.toString(16)}, not 0x${wanted.toString(16)}`);
    const first = bytes[at + 1] as number;
    at += 2;
    let length = first;
    if (first >= 0x80) {
      const octets = first & 0x7f;
      if (octets === 0) throw new DerError(`${what} has an indefinite length`);
      if (octets > 3) throw new DerError(`${what} is too long`);
      if (at + octets > this.#end) throw new DerError(`${what} is cut off`);
      length = 0;
      for (let index = 0; index < octets; index += 1)
        length = length * 256 + (bytes[at + index] as number);
      at += octets;
      if (length < 0x80 || (octets > 1 && length < 2 ** (8 * (octets - 1))))
        throw new DerError(`${what} has a length that is not in its shortest form`);
    }
    if (at + length > this.#end) throw new DerError(`${what} is cut off`);
    this.#offset = at;
    return at + length;
  }

  /** A reader over the content of the next element, which is passed over. */
  enter(wanted: number, what: string): DerReader {
    const end = this.#header(wanted, what);
    const inner = new DerReader(this.#bytes, this.#offset, end);
    this.#offset = end;
    return inner;
  }

  sequence(what: string): DerReader {
    return this.enter(tag.sequence, what);
  }

  /** The content of the next element. */
  content(wanted: number, what: string): Buffer {
    const end = this.#header(wanted, what);
    const slice = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return slice;
  }

  /** The next element with its tag and length; its inside is not checked. */
  element(wanted: number, what: string): Buffer {
    const start = this.#offset;
    this.#offset = this.#header(wanted, what);
    return this.#bytes.subarray(start, this.#offset);
  }

  /** The next element, whatever its tag; low tag numbers only. */
  any(what: string): { readonly tag: number; readonly content: Buffer } {
    const next = this.peek();
    if ((next & 0x1f) === 0x1f) throw new DerError(`${what} has a tag of more than one octet`);
    return { tag: next, content: this.content(next, what) };
  }

  /** The bytes between an earlier offset of this reader and now, or another offset between them. */
  since(start: number, end = this.#offset): Buffer {
    return this.#bytes.subarray(start, end);
  }

  /** Passes over the next element; its inside is not checked. */
  passOver(wanted: number, what: string): void {
    this.#offset = this.#header(wanted, what);
  }

  /** Passes over the next bytes if they are these, which are whole elements. */
  passes(elements: Buffer): boolean {
    const [bytes, start, { length }] = [this.#bytes, this.#offset, elements];
    if (start + length > this.#end) return false;
    // a loop, since a call into native code costs more than it saves for a few bytes
    for (let index = 0; index < length; index += 1)
      if (bytes[start + index] !== elements[index]) return false;
    this.#offset = start + length;
    return true;
  }

  /** Content octets of an INTEGER in its shortest form. */
  integer(what: string): Buffer {
    const content = this.content(tag.integer, what);
    const first = content[0];
    if (first === undefined) throw new DerError(`${what} is an empty INTEGER`);
    const second = content[1];
    if (
      second !== undefined &&
      ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))
    )
      throw new DerError(`${what} is an INTEGER that is not in its shortest form`);
    return content;
  }

  /** A non-negative INTEGER below 2^31. */
  smallInteger(what: string): number {
    const content = this.integer(what);
    if ((content[0] as number) >= 0x80 || content.length > 4)
      throw new DerError(`${what} is out of range`);
    return content.readUIntBE(0, content.length);
  }

  boolean(what: string): boolean {
    const content = this.content(tag.boolean, what);
    if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff))
      throw new DerError(`${what} is not a DER BOOLEAN`);
    return content[0] === 0xff;
  }

  null(what: string): void {
    if (this.content(tag.null, what).length !== 0)
      throw new DerError(`${what} is a NULL with content`);
  }

  /** A BIT STRING of whole octets. */
  octetBits(what: string): Buffer {
    const content = this.content(tag.bitString, what);
    if (content[0] !== 0) throw new DerError(`${what} is not a BIT STRING of whole octets`);
    return content.subarray(1);
  }

  /** Content octets of an OBJECT IDENTIFIER as hex, checked for shortest arcs. */
  oidHex(what: string): string {
    const content = this.content(tag.oid, what);
    if (
      content.length === 0 ||
      content.length > 64 ||
      (content[content.length - 1] as number) >= 0x80
    )
      throw new DerError(`${what} is not an OBJECT IDENTIFIER`);
    let start = true;
    for (let index = 0; index < content.length; index += 1) {
      const octet = content[index] as number;
      if (start && octet === 0x80)
        throw new DerError(`${what} is an OBJECT IDENTIFIER with a padded arc`);
      start = octet < 0x80;
    }
    return content.toString('hex');
  }
}

const dotted = new Map<string, string>();

/** Dotted form of an OID's content octets given as hex. */
export function oidText(hex: string): string {
  const known = dotted.get(hex);
  if (known !== undefined) return known;
  const arcs: bigint[] = [];
  let value = 0n;
  for (const octet of Buffer.from(hex, 'hex')) {
    value = (value << 7n) | BigInt(octet & 0x7f);
    if (octet >= 0x80) continue;
    if (arcs.length === 0) {
      const root = value < 40n ? 0n : value < 80n ? 1n : 2n;
      arcs.push(root, value - root * 40n);
    } else arcs.push(value);
    value = 0n;
  }
  const text = arcs.join('.');
  // bounded, since unknown OIDs come from outside
  if (dotted.size < 256) dotted.set(hex, text);
  return text;
}

/** Splits concatenated DER elements, as in the SPIFFE Workload API; each must be a SEQUENCE. */
export function splitDer(bytes: Buffer): Result<readonly Buffer[]> {
  return parsing('CERTIFICATE_MALFORMED', () => {
    const reader = new DerReader(bytes);
    const parts: Buffer[] = [];
    while (reader.more) parts.push(reader.element(tag.sequence, 'certificate'));
    return { ok: true, value: parts };
  });
}
