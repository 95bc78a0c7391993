/**
 * One revision of the trust bundle: a SPIFFE bundle document, signed by a JWT authority of the
 * previous revision.
 */
export interface BundleRevision {
  readonly sequence: number;
  /** SPIFFE bundle document (JWKS), JSON text. */
  readonly document: string;
  /**
   * Compact JWS, typ `meshca-bundle+jws`, over the document with the keys of the issuing authorities
   * (`meshca_issuers`).
   */
  readonly jws: string;
  readonly createdAt: number;
}

/** (database epoch, revision). A new epoch, or a pruned revision, forces a snapshot. */
export interface Position {
  readonly epoch: string;
  readonly revision: number;
}
