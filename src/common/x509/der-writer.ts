import { tag } from './der-reader.ts';

/** One DER element: tag, shortest length, the parts one after another. */
export function der(tagOctet: number, ...parts: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  const header = headerSize(length);
  const out = Buffer.allocUnsafe(header + length);
  let at = writeHeader(out, 0, tagOctet, length);
  for (const part of parts) at = copyTo(out, at, part);
  return out;
}

/** Copies a part; returns the offset behind it. */
function copyTo(out: Buffer, at: number, part: Uint8Array): number {
  const { length } = part;
  // a loop, since a call into native code costs more than it saves for a few bytes
  if (length > 16) out.set(part, at);
  else for (let index = 0; index < length; index += 1) out[at + index] = part[index] as number;
  return at + length;
}

/** Octets that tag and length take for this content length. */
const headerSize = (length: number): number =>
  length < 0x80 ? 2 : length < 0x100 ? 3 : length < 0x10000 ? 4 : 5;

/** Writes tag and length at `at`; returns the offset behind them. */
function writeHeader(out: Buffer, at: number, tagOctet: number, length: number): number {
  out[at] = tagOctet;
  if (length < 0x80) {
    out[at + 1] = length;
    return at + 2;
  }
  const octets = length < 0x100 ? 1 : length < 0x10000 ? 2 : 3;
  out[at + 1] = 0x80 | octets;
  for (let index = 0; index < octets; index += 1)
    out[at + 2 + index] = (length >>> (8 * (octets - 1 - index))) & 0xff;
  return at + 2 + octets;
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => der(tag.sequence, ...parts);

/** SET OF: elements in ascending order of their encodings (X.690 section 11.6). */
export const setOf = (...parts: readonly Buffer[]): Buffer =>
  der(tag.set, ...[...parts].sort(Buffer.compare));

/** EXPLICIT context tag, or IMPLICIT over a constructed type. */
export const context = (number: number, ...parts: readonly Uint8Array[]): Buffer =>
  der(tag.context(number), ...parts);

/** IMPLICIT context tag over a primitive type. */
export const contextPrimitive = (number: number, content: Uint8Array): Buffer =>
  der(tag.contextPrimitive(number), content);

export const octetString = (content: Uint8Array): Buffer => der(tag.octetString, content);
export const derNull = (): Buffer => Buffer.from([tag.null, 0]);
export const derTrue = (): Buffer => Buffer.from([tag.boolean, 1, 0xff]);
/** A text of Latin-1 under this tag. */
export function latin1(tagOctet: number, text: string): Buffer {
  const header = headerSize(text.length);
  const out = Buffer.allocUnsafe(header + text.length);
  out.write(text, writeHeader(out, 0, tagOctet, text.length), 'latin1');
  return out;
}

export const utf8String = (text: string): Buffer => der(tag.utf8String, Buffer.from(text, 'utf8'));
export const ia5String = (text: string): Buffer => latin1(tag.ia5String, text);

/** BIT STRING of whole octets. */
export const bitString = (content: Uint8Array): Buffer => der(tag.bitString, Buffer.of(0), content);

/**
 * BIT STRING with named bits: no trailing zero bits (X.690 section 11.2.2). `bits` are bit numbers,
 * 0 the first.
 */
export function namedBits(bits: readonly number[]): Buffer {
  if (bits.length === 0) return der(tag.bitString, Buffer.of(0));
  const highest = Math.max(...bits);
  const octets = Buffer.alloc((highest >> 3) + 1);
  for (const bit of bits) octets[bit >> 3] = (octets[bit >> 3] as number) | (0x80 >> (bit & 7));
  return der(tag.bitString, Buffer.of(7 - (highest & 7)), octets);
}

/** INTEGER from an unsigned big-endian magnitude. */
export function unsignedInteger(magnitude: Buffer): Buffer {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start += 1;
  const content = magnitude.subarray(start);
  if (content.length === 0) return Buffer.of(tag.integer, 1, 0);
  return (content[0] as number) >= 0x80
    ? der(tag.integer, Buffer.of(0), content)
    : der(tag.integer, content);
}

export function integer(value: number | bigint): Buffer {
  if (value < 0) throw new RangeError('only non-negative integers are written');
  const hex = BigInt(value).toString(16);
  return unsignedInteger(Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex'));
}

/** OBJECT IDENTIFIER from its dotted form. */
export function oid(text: string): Buffer {
  const arcs = text.split('.').map(Number);
  const octets: number[] = [];
  for (const arc of [(arcs[0] as number) * 40 + (arcs[1] as number), ...arcs.slice(2)]) {
    const groups = [arc & 0x7f];
    for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128))
      groups.unshift(0x80 | (rest & 0x7f));
    octets.push(...groups);
  }
  return der(tag.oid, Buffer.from(octets));
}
