import type { TrustDomain } from '../../src/common/spiffe/index.ts';

export interface TrustBundle {
  readonly trustDomain: TrustDomain;
  readonly sequence: number;
  /** Root certificates, DER. */
  readonly rootsDer: readonly Buffer[];
  /** The JWKS of the JWT authorities, as FetchJWTBundles returns it. */
  readonly jwksJson: string;
  /** SHA-256 over the sorted SHA-256 digests of the roots. */
  readonly authoritySetDigest: Buffer;
  /** The same over the SubjectPublicKeyInfo of the JWT authorities. */
  readonly jwtSetDigest: Buffer;
  /**
   * SHA-256 (hex) of the public keys of the server's issuing authorities, from the signed step; empty
   * for a bundle that is none.
   */
  readonly issuersSha256: readonly string[];
}

export interface BundleSource {
  current(): TrustBundle | undefined;
  /**
   * All bundles of foreign trust domains that are held, by name. What a caller gets of them its
   * entries say: see `grantedBundles`. A bundle is the same object until it changes.
   */
  federated(): ReadonlyMap<string, TrustBundle>;
  /**
   * The CRLs of this trust domain in DER, a complete set or none. The same object until it changes;
   * `onChange` reports a change.
   */
  crls(): readonly Buffer[];
  onChange(listener: () => void): () => void;
}
