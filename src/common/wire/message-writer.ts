import type { Long } from '@grpc/proto-loader';

const firstSize = 64 * 1024;
/** A batch of 500 certificates has some 550 KiB. */
const largestKept = 1024 * 1024;

/** As the generated types of messages have them. */
type Bytes = Uint8Array | string;
type Count = number | string | Long;

/**
 * Writes a protobuf message from its end to its begin, so that the length of a nested message is
 * known when it is written. Fields are given from the highest number to the lowest, and the items of
 * a list from the last to the first. Absent fields are left out. Empty texts are written, as
 * protobufjs writes them. Owner of the memory in which it writes, which all messages share.
 */
export class MessageWriter {
  #buffer = Buffer.allocUnsafeSlow(firstSize);
  #at = firstSize;

  /** The message that `fields` writes. It is a copy: the next message does not change it. */
  write(fields: (writer: this) => void): Buffer {
    this.#at = this.#buffer.length;
    fields(this);
    const message = Buffer.from(this.#buffer.subarray(this.#at));
    // the memory of one large message is not kept
    if (this.#buffer.length > largestKept) this.#buffer = Buffer.allocUnsafeSlow(firstSize);
    return message;
  }

  /** Where a nested message ends. Pass it to `nested` once its fields are written. */
  get end(): number {
    return this.#buffer.length - this.#at;
  }

  nested(field: number, end: number): void {
    this.#varint(this.end - end);
    this.#varint(field * 8 + 2);
  }

  text(field: number, value: string | null | undefined): void {
    if (value === undefined || value === null) return;
    const length = Buffer.byteLength(value);
    this.#reserve(length);
    this.#at -= length;
    this.#buffer.write(value, this.#at, length, 'utf8');
    this.#varint(length);
    this.#varint(field * 8 + 2);
  }

  bytes(field: number, stated: Bytes): void {
    const value = typeof stated === 'string' ? Buffer.from(stated, 'base64') : stated;
    this.#reserve(value.length);
    this.#at -= value.length;
    this.#buffer.set(value, this.#at);
    this.#varint(value.length);
    this.#varint(field * 8 + 2);
  }

  /** An int64 or uint32 that is a safe integer and not negative. */
  count(field: number, stated: Count | undefined): void {
    if (stated === undefined) return;
    const value = Number(stated);
    if (!Number.isSafeInteger(value) || value < 0)
      throw new RangeError(`field ${field} is ${value}, which is no count`);
    this.#varint(value);
    this.#varint(field * 8);
  }

  #varint(value: number): void {
    this.#reserve(8);
    let length = 1;
    for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length += 1;
    this.#at -= length;
    let at = this.#at;
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.#buffer[at++] = (rest % 128) + 128;
    this.#buffer[at] = rest;
  }

  #reserve(length: number): void {
    if (length <= this.#at) return;
    const written = this.#buffer.subarray(this.#at);
    const larger = Buffer.allocUnsafeSlow(
      Math.max(this.#buffer.length * 2, written.length + length),
    );
    larger.set(written, larger.length - written.length);
    this.#at = larger.length - written.length;
    this.#buffer = larger;
  }
}
