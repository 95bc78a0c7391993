import { constants } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import {
  certificatesToPem,
  parseCertificate,
  type ParsedCertificate,
} from '../common/x509/index.ts';
import type { X509Bundles, X509Svid } from './x509-update.ts';

/**
 * The material that both roles present and trust. `ca` has the roots of all trust domains, so
 * OpenSSL alone would let the root of one sign for another. The SVID check that follows uses only
 * the roots of the peer's own trust domain.
 */
export function tlsMaterial(svid: X509Svid, bundles: X509Bundles): SecureContextOptions {
  return {
    cert: certificatesToPem(svid.chainDer),
    key: svid.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
    ca: anchors(svid, bundles).map((root) => certificatesToPem([root])),
    // a bundle may state an anchor that is not self-signed
    allowPartialTrustChain: true,
    minVersion: 'TLSv1.3',
    // no tickets, since OpenSSL would resume with an expired client certificate without a check
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

/**
 * OpenSSL finds an issuer by its name and key ID, and gives up when the signature is by another key.
 * So a foreign root that bears those of an authority of ours would end all handshakes in the own
 * trust domain. It is left out, as is a foreign one that can not be read.
 */
function anchors({ id, chainDer }: X509Svid, bundles: X509Bundles): readonly Buffer[] {
  const own = bundles.get(id.trustDomain.name) ?? [];
  const ours = [...own, ...chainDer.slice(1)].flatMap(parsed);
  const foreign = [...bundles]
    .filter(([name]) => name !== id.trustDomain.name)
    .flatMap(([, roots]) => roots.flatMap(parsed))
    .filter((root) => !ours.some((each) => passesFor(root, each)));
  return [...own, ...foreign.map(({ raw }) => raw)];
}

const parsed = (der: Buffer): readonly ParsedCertificate[] => {
  const certificate = parseCertificate(der);
  return certificate.ok ? [certificate.value] : [];
};

const passesFor = (root: ParsedCertificate, ours: ParsedCertificate): boolean =>
  root.subjectDer.equals(ours.subjectDer) &&
  (root.subjectKeyId === undefined ||
    ours.subjectKeyId === undefined ||
    root.subjectKeyId === ours.subjectKeyId);
