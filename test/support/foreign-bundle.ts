import type { FederatedDocument } from '../../sidecar/bundle/index.ts';
import type { TestAuthority } from './test-pki.ts';

/** A SPIFFE bundle document as the server hands it to its agents. */
export const foreignDocument = (
  trustDomain: string,
  sequence: number,
  roots: readonly Pick<TestAuthority, 'certificateDer'>[],
  jwtKeys: readonly object[] = [],
): FederatedDocument => ({
  trustDomain,
  bundleJson: JSON.stringify({
    keys: [
      ...roots.map(({ certificateDer }) => ({
        use: 'x509-svid',
        kty: 'EC',
        x5c: [certificateDer.toString('base64')],
      })),
      ...jwtKeys,
    ],
    spiffe_sequence: sequence,
    spiffe_refresh_hint: 300,
  }),
});
