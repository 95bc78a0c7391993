import type { ByteStream } from '../byte-stream.ts';
import { ProbeFailure } from '../failure.ts';
import type { RecordKey } from './key-schedule.ts';
import { alertText, contentType, unrecognizedName } from './numbers.ts';
import { uint } from './wire.ts';

/** One handshake message, with its header of four octets. */
export interface HandshakeMessage {
  readonly type: number;
  readonly body: Buffer;
  readonly whole: Buffer;
}

/** The server ended the handshake by an alert. */
export class AlertFailure extends ProbeFailure {
  readonly description: number;

  constructor(description: number) {
    super(`the server ended the handshake with the alert ${alertText(description)}`);
    this.description = description;
  }
}

const maximumPlain = 16_384;
const maximumProtected = maximumPlain + 256;
const nothing = Buffer.alloc(0);

/**
 * The record layer of the client (RFC 8446 section 5): handshake messages from records, whatever
 * way they are split. Bounded, since the stream below it is. Throws ProbeFailure.
 */
export class Records {
  readonly #stream: ByteStream;
  #held: Buffer = nothing;
  #readKey: RecordKey | undefined;
  #writeKey: RecordKey | undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  /** Handshake messages must not straddle a change of keys (RFC 8446 section 5.1). */
  protect(read: RecordKey, write: RecordKey): void {
    if (this.#held.length > 0)
      throw new ProbeFailure('the server sent a message in clear that belongs below its keys');
    this.#readKey = read;
    this.#writeKey = write;
  }

  protectWrites(write: RecordKey): void {
    this.#writeKey = write;
  }

  write(type: number, content: Buffer): void {
    this.#stream.write(
      this.#writeKey?.seal(type, content) ??
        Buffer.concat([Buffer.of(type, 3, 3), uint(2, content.length), content]),
    );
  }

  /** The first record of a client says TLS 1.0, for the sake of old servers (section 5.1). */
  writeFirst(content: Buffer): void {
    const header = Buffer.concat([Buffer.of(contentType.handshake, 3, 1), uint(2, content.length)]);
    this.#stream.write(Buffer.concat([header, content]));
  }

  async message(): Promise<HandshakeMessage> {
    while (this.#held.length < 4) await this.#more();
    const length = this.#held.readUIntBE(1, 3);
    while (this.#held.length < 4 + length) await this.#more();
    const whole = this.#held.subarray(0, 4 + length);
    this.#held = this.#held.subarray(4 + length);
    return { type: whole[0] as number, body: whole.subarray(4), whole };
  }

  async #more(): Promise<void> {
    const { type, content } = await this.#record();
    if (type === contentType.alert) {
      if (isPassing(content)) return;
      throw alertIn(content);
    }
    if (type !== contentType.handshake)
      throw new ProbeFailure(`the server sent a record of type ${type} within its handshake`);
    if (content.length === 0) throw new ProbeFailure('the server sent an empty handshake record');
    this.#held = Buffer.concat([this.#held, content]);
  }

  async #record(): Promise<{ readonly type: number; readonly content: Buffer }> {
    for (;;) {
      const header = await this.#stream.read(5);
      const type = header[0] as number;
      const length = header.readUInt16BE(3);
      if (type < contentType.changeCipherSpec || type > contentType.data || header[1] !== 3)
        throw new ProbeFailure(`the server does not speak TLS: it sent ${quoted(header)}`);
      if (length > (this.#readKey === undefined ? maximumPlain : maximumProtected))
        throw new ProbeFailure(`the server sent a record of ${length} bytes`);
      const body = await this.#stream.read(length);
      if (type === contentType.changeCipherSpec) {
        // means nothing in TLS 1.3 (appendix D.4); in 1.2 the probe ends before it
        if (length !== 1 || body[0] !== 1) throw new ProbeFailure('the server sent a wrong record');
        continue;
      }
      if (this.#readKey === undefined || type === contentType.alert) return { type, content: body };
      if (type !== contentType.data)
        throw new ProbeFailure(`the server sent a record of type ${type} in clear below its keys`);
      return this.#readKey.open(header, body);
    }
  }
}

/** A warning that old servers send, and go on: they do not know the name that was asked for. */
const isPassing = (content: Buffer): boolean =>
  content.length === 2 && content[0] === 1 && content[1] === unrecognizedName;

function alertIn(content: Buffer): ProbeFailure {
  return content.length === 2
    ? new AlertFailure(content[1] as number)
    : new ProbeFailure('the server sent a malformed alert');
}

/** A few bytes of a stranger, in printable form. */
const quoted = (bytes: Buffer): string =>
  JSON.stringify(bytes.toString('latin1').replace(/[^\x20-\x7e]/g, '.'));
