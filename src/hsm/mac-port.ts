/**
 * A secret key of the token that never leaves it (CKM_SHA256_HMAC). Secrets that a database must
 * not hold are derived with it.
 */
export interface TokenMac {
  /**
   * HMAC-SHA256, 32 bytes.
   *
   * @throws PkiError HSM_UNAVAILABLE, HSM_FAILED, HSM_KEY_NOT_FOUND
   */
  mac(input: Buffer): Promise<Buffer>;
}
