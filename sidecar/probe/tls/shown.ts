import { hash, type X509Certificate } from 'node:crypto';
import type { Shown } from '../listener.ts';
import type { CertificateRequest } from './messages.ts';

export const shownBy = (
  leaf: X509Certificate,
  request: CertificateRequest | undefined,
  tlsVersion: Shown['tlsVersion'],
): Shown => ({
  serial: leaf.serialNumber.toLowerCase(),
  leafSha256: hash('sha256', leaf.raw, 'hex'),
  caNamesDer: request?.caNamesDer,
  tlsVersion,
});
