/**
 * The first use of a token that counts once. The mark stays until the token has long ended, so that
 * nobody uses it again.
 */
export interface TokenUse {
  /** SHA-256, hex: see `VerifiedToken.useId`. */
  readonly id: string;
  /** The name of the issuer in the configuration. */
  readonly issuer: string;
  /** The subject of the token. */
  readonly subject: string;
  /** What it was used for: the ID of an entry or EAB key, or the SPIFFE ID of an agent. */
  readonly grantee: string;
  /** The key that it was used with. Empty: it led to an EAB key, which no second use gets. */
  readonly publicKeySha256: string;
  readonly usedAt: number;
  /** The token itself does not count from here on. */
  readonly expiresAt: number;
  /** The certificate that it led to; null: none is known yet. */
  readonly serial: string | null;
  /** When its holder gave it back; null: it did not. */
  readonly endedAt: number | null;
}
