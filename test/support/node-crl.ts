import { sign } from 'node:crypto';
import { buildCrlTbs } from '../../src/certs/index.ts';
import { unwrap } from '../../src/common/errors/index.ts';
import { derWriter, parseCertificate, pemEncode } from '../../src/common/x509/index.ts';
import type { TestAuthority } from './test-pki.ts';

/** A CRL of a CA of nodes in PEM, which names these serial numbers. */
export const nodeCrl = (ca: TestAuthority, serials: readonly string[]): string => {
  const now = Math.floor(Date.now() / 1000);
  const tbs = buildCrlTbs({
    issuer: unwrap(parseCertificate(ca.certificateDer)),
    number: BigInt(Date.now()),
    thisUpdate: now - 60,
    nextUpdate: now + 3000,
    revoked: serials.map((serialHex) => ({
      serialHex,
      revokedAt: now - 70,
      reason: 'keyCompromise' as const,
    })),
  });
  const algorithm = derWriter.sequence(derWriter.oid('1.2.840.10045.4.3.2'));
  const signature = derWriter.bitString(sign('sha256', tbs, ca.privateKey));
  return pemEncode('X509 CRL', derWriter.sequence(tbs, algorithm, signature));
};
