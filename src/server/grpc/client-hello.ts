/** What a client states in its first message, as far as it is readable. */
export interface ClientHello {
  /** The name that it asks for (SNI), in lower case. Undefined: none. */
  readonly serverName: string | undefined;
  /** True if it offers TLS 1.3. */
  readonly offersTls13: boolean;
}

const handshakeRecord = 22;
const clientHello = 1;
const serverNameExtension = 0;
const supportedVersionsExtension = 43;
const hostName = 0;
const tls13 = 0x0304;

/**
 * Reads a ClientHello (RFC 8446, section 4.1.2) from the first bytes of a connection. The bytes are
 * a stranger's and only serve to name him, so that anything unexpected gives undefined. A message
 * that goes on in a later segment is not awaited: a client without TLS 1.3 has no key share, and its
 * message fits into one.
 */
export function readClientHello(bytes: Buffer): ClientHello | undefined {
  const reader = new Reader(bytes);
  if (reader.number(1) !== handshakeRecord) return undefined;
  reader.skip(2);
  const message = new Reader(reader.part(2));
  if (message.number(1) !== clientHello) return undefined;
  const body = new Reader(message.part(3));
  // version and random, session ID, cipher suites, compression methods
  body.skip(2 + 32);
  body.part(1);
  body.part(2);
  body.part(1);
  const extensions = new Reader(body.part(2));
  if (body.over) return undefined;
  let serverName: string | undefined;
  let offersTls13 = false;
  while (extensions.more) {
    const type = extensions.number(2);
    const content = new Reader(extensions.part(2));
    if (type === serverNameExtension) serverName = readServerName(content);
    if (type === supportedVersionsExtension) offersTls13 = readVersions(content).includes(tls13);
  }
  return extensions.over ? undefined : { serverName, offersTls13 };
}

function readServerName(content: Reader): string | undefined {
  const names = new Reader(content.part(2));
  const type = names.number(1);
  const name = names.part(2).toString('latin1').toLowerCase();
  return names.over || type !== hostName || !/^[a-z0-9._-]{1,255}$/.test(name) ? undefined : name;
}

function readVersions(content: Reader): readonly number[] {
  const versions = new Reader(content.part(1));
  const offered: number[] = [];
  while (versions.more) offered.push(versions.number(2));
  return offered;
}

/** Reads big-endian numbers and parts with a length before them. Past the end, everything is 0. */
class Reader {
  readonly #bytes: Buffer;
  #offset = 0;
  /** True once more was read than there is. */
  over = false;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get more(): boolean {
    return !this.over && this.#offset < this.#bytes.length;
  }

  number(size: number): number {
    const part = this.#take(size);
    return part.length === 0 ? 0 : part.readUIntBE(0, size);
  }

  part(lengthSize: number): Buffer {
    return this.#take(this.number(lengthSize));
  }

  skip(size: number): void {
    this.#take(size);
  }

  #take(size: number): Buffer {
    const end = this.#offset + size;
    if (this.over || end > this.#bytes.length) {
      this.over = true;
      return Buffer.alloc(0);
    }
    const part = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return part;
  }
}
