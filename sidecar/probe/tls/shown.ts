import { hash, type X509Certificate } from 'node:crypto';
import type { Shown } from '../listener.ts';
import type { CertificateRequest } from './messages.ts';

/** Hex of 20 octets are 40 (RFC 5280 section 4.1.2.2); a stranger's serial is no longer in messages. */
const maximumSerial = 64;

export const shownBy = (
  leaf: X509Certificate,
  request: CertificateRequest | undefined,
  tlsVersion: Shown['tlsVersion'],
): Shown => ({
  serial: shortened(leaf.serialNumber.toLowerCase()),
  leafSha256: hash('sha256', leaf.raw, 'hex'),
  caNamesDer: request?.caNamesDer,
  tlsVersion,
});

const shortened = (serial: string): string =>
  serial.length > maximumSerial ? `${serial.slice(0, maximumSerial)}…` : serial;
