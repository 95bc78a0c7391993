import { constants } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import { certificatesToPem } from '../common/x509/index.ts';
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
    ca: [...bundles.values()].flat().map((root) => certificatesToPem([root])),
    // a bundle may state an anchor that is not self-signed
    allowPartialTrustChain: true,
    minVersion: 'TLSv1.3',
    // no tickets, since OpenSSL would resume with an expired client certificate without a check
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}
