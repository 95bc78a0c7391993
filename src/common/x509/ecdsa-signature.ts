import { sequence, unsignedInteger } from './der-writer.ts';

/**
 * Converts an ECDSA signature. PKCS#11 and JOSE write r || s, both with the length of the field.
 * X.509 writes Ecdsa-Sig-Value (RFC 5480, appendix A).
 */
export function ecdsaSigValue(rs: Buffer): Buffer {
  const half = rs.length >> 1;
  return sequence(unsignedInteger(rs.subarray(0, half)), unsignedInteger(rs.subarray(half)));
}
