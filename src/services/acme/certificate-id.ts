import { parseCertificate } from '../../common/x509/index.ts';
import { base64urlBytes } from './encoding.ts';

/** The identifier of a certificate (RFC 9773 section 4.1), read. */
export interface CertificateId {
  /** The key identifier of the issuer, hex. */
  readonly issuerKeyId: string;
  /** Lower-case hex, as in the inventory. */
  readonly serial: string;
}

/** RFC 5280 section 4.1.2.2, and the 00 before a first octet from 80. */
const maximumSerialOctets = 21;

/**
 * Reads base64url of a key identifier, a dot, and base64url of the value of the serial number in
 * DER. Undefined: it is something else, or another form of the same, such as one with padding.
 */
export function readCertificateId(text: string): CertificateId | undefined {
  const [issuer = '', serial = '', ...more] = text.split('.');
  const [issuerBytes, serialBytes] = [base64urlBytes(issuer), base64urlBytes(serial)];
  if (more.length > 0 || issuerBytes === undefined || serialBytes === undefined) return undefined;
  const magnitude = positive(serialBytes);
  if (issuerBytes.length === 0 || magnitude === undefined) return undefined;
  return { issuerKeyId: issuerBytes.toString('hex'), serial: magnitude.toString('hex') };
}

/** The octets of a positive INTEGER in its one form (X.690 section 8.3), without a leading 00. */
function positive(bytes: Buffer): Buffer | undefined {
  const [first, second] = bytes;
  if (first === undefined || first >= 0x80 || bytes.length > maximumSerialOctets) return undefined;
  if (first !== 0) return bytes;
  return second !== undefined && second >= 0x80 ? bytes.subarray(1) : undefined;
}

/** The identifier of a certificate. Undefined: it names no key of its issuer. */
export function certificateIdOf(certificateDer: Buffer): string | undefined {
  const parsed = parseCertificate(certificateDer);
  if (!parsed.ok || parsed.value.authorityKeyId === undefined) return undefined;
  return certificateIdText(parsed.value.authorityKeyId, parsed.value.serialHex);
}

/** Both in hex; the serial without a leading 00. */
export function certificateIdText(issuerKeyId: string, serial: string): string {
  const bytes = Buffer.from(serial, 'hex');
  const value = (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes;
  return `${Buffer.from(issuerKeyId, 'hex').toString('base64url')}.${value.toString('base64url')}`;
}
