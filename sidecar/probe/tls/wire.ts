import { ProbeFailure } from '../failure.ts';

/** Reads the presentation language of TLS (RFC 8446 section 3). Throws ProbeFailure. */
export class WireReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #at = 0;

  constructor(bytes: Buffer, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get more(): boolean {
    return this.#at < this.#bytes.length;
  }

  get offset(): number {
    return this.#at;
  }

  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length)
      throw new ProbeFailure(`${this.#what} of the server is cut off`);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  uint(octets: 1 | 2 | 3): number {
    return this.take(octets).readUIntBE(0, octets);
  }

  /** A vector with a length of so many octets before it. */
  vector(octets: 1 | 2 | 3): Buffer {
    return this.take(this.uint(octets));
  }

  /** A reader over such a vector. */
  enter(octets: 1 | 2 | 3): WireReader {
    return new WireReader(this.vector(octets), this.#what);
  }

  end(): void {
    if (this.more) throw new ProbeFailure(`${this.#what} of the server has spare bytes at its end`);
  }
}

export function uint(octets: 1 | 2 | 3, value: number): Buffer {
  const bytes = Buffer.alloc(octets);
  bytes.writeUIntBE(value, 0, octets);
  return bytes;
}

export function vector(octets: 1 | 2 | 3, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([uint(octets, content.length), content]);
}

export const uints16 = (values: readonly number[]): Buffer =>
  Buffer.concat(values.map((value) => uint(2, value)));

/**
 * Extensions by their type. One that comes twice is refused (RFC 8446 section 4.2), and so is one
 * that the client did not ask for, where `asked` is given.
 */
export function readExtensions(
  reader: WireReader,
  what: string,
  asked?: ReadonlySet<number>,
): ReadonlyMap<number, Buffer> {
  const found = new Map<number, Buffer>();
  while (reader.more) {
    const type = reader.uint(2);
    if (found.has(type)) throw new ProbeFailure(`${what} has the extension ${type} twice`);
    if (asked !== undefined && !asked.has(type))
      throw new ProbeFailure(`${what} has the extension ${type}, which was not asked for`);
    found.set(type, reader.vector(2));
  }
  return found;
}
