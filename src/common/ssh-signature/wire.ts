/**
 * Reads the SSH wire encoding (RFC 4251, section 5). Throws RangeError past the end; the callers of
 * this folder turn it into a result.
 */
export class WireReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  take(length: number): Buffer {
    if (length > this.#bytes.length - this.#at) throw new RangeError('the data ends early');
    const taken = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return taken;
  }

  uint8(): number {
    return this.take(1).readUInt8();
  }

  uint32(): number {
    return this.take(4).readUInt32BE();
  }

  string(): Buffer {
    return this.take(this.uint32());
  }

  /** Printable ASCII: every name in these formats is. */
  name(): string {
    const bytes = this.string();
    if (bytes.length > 256 || bytes.some((byte) => byte < 0x20 || byte > 0x7e))
      throw new RangeError('a name is not printable ASCII of at most 256 characters');
    return bytes.toString('latin1');
  }

  /** A positive mpint in its shortest form, without the leading zero octet. */
  positive(): Buffer {
    const bytes = this.string();
    const [first, second] = bytes;
    if (first === undefined || first >= 0x80) throw new RangeError('a number is zero or negative');
    if (first !== 0) return bytes;
    if (second === undefined || second < 0x80)
      throw new RangeError('a number has a needless zero octet');
    return bytes.subarray(1);
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new RangeError('octets follow the end');
  }
}

export function wireString(value: Buffer | string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** Standard alphabet with padding, and nothing that the decoder would pass over. */
export function strictBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.length > 0 && bytes.toString('base64') === text ? bytes : undefined;
}
