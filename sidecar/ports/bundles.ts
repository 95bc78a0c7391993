import type { TrustDomain } from '../../src/common/spiffe/index.ts';

export interface TrustBundle {
  readonly trustDomain: TrustDomain;
  readonly sequence: number;
  /** Root certificates, DER. */
  readonly rootsDer: readonly Buffer[];
  /** JWKS text with the JWT authorities alone, as FetchJWTBundles hands it out. */
  readonly jwksJson: string;
  /** SHA-256 over the sorted SHA-256 digests of the roots. */
  readonly authoritySetDigest: Buffer;
  /** The same over the SubjectPublicKeyInfo of the JWT authorities. */
  readonly jwtSetDigest: Buffer;
}

export interface BundleSource {
  current(): TrustBundle | undefined;
  /** Bundles of other trust domains, by name. */
  federated(): ReadonlyMap<string, TrustBundle>;
  /**
   * CRLs of the own trust domain in DER, a complete set or none. One object until it changes, which
   * `onChange` tells.
   */
  crls(): readonly Buffer[];
  onChange(listener: () => void): () => void;
}
