/**
 * The few DER forms that a token's answers have to be put into or taken out of. Not a parser: only
 * definite, minimal lengths of what we ourselves write, and the OCTET STRING around an EC point.
 */

function header(tag: number, length: number): Buffer {
  if (length < 0x80) return Buffer.from([tag, length]);
  if (length < 0x100) return Buffer.from([tag, 0x81, length]);
  return Buffer.from([tag, 0x82, length >> 8, length & 0xff]);
}

const wrap = (tag: number, ...parts: readonly Buffer[]): Buffer => {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([header(tag, length), ...parts]);
};

export const sequence = (...parts: readonly Buffer[]): Buffer => wrap(0x30, ...parts);

export const bitString = (content: Buffer): Buffer => wrap(0x03, Buffer.from([0]), content);

/** A non-negative INTEGER from its big-endian magnitude, whatever zeros lead it. */
export function unsignedInteger(magnitude: Buffer): Buffer {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++;
  const digits = magnitude.subarray(start);
  return ((digits[0] ?? 0) & 0x80) === 0 && digits.length > 0
    ? wrap(0x02, digits)
    : wrap(0x02, Buffer.from([0]), digits);
}

/** The content of an OCTET STRING that fills `bytes` exactly, or undefined. */
export function octetStringContent(bytes: Buffer): Buffer | undefined {
  if (bytes.length < 2 || bytes[0] !== 0x04) return undefined;
  const first = bytes[1] as number;
  const [start, length] = first < 0x80 ? [2, first] : first === 0x81 ? [3, bytes[2] ?? 0] : [0, -1];
  return length >= 0 && bytes.length === start + length ? bytes.subarray(start) : undefined;
}

/**
 * ECDSA signatures: PKCS#11 and JOSE write r || s, both of the field's length; X.509 writes
 * Ecdsa-Sig-Value (RFC 5480 appendix A).
 */
export function ecdsaSigValue(rs: Buffer): Buffer {
  const half = rs.length >> 1;
  return sequence(unsignedInteger(rs.subarray(0, half)), unsignedInteger(rs.subarray(half)));
}
