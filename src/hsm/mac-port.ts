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

/** A secret key for MACs that signers may use. */
export interface MacKeyHandle {
  /** CKA_ID, lower-case hex. */
  readonly ckaId: string;
  /**
   * Its MAC of fixed bytes, as it was recorded when the key was made. A key that gives another one
   * is not the recorded key. It tells nothing of other MACs.
   */
  readonly checkValue: Buffer;
  /** The token of a `SignerRouter` that holds the key. Default: its first token. */
  readonly token?: string;
}

/** Secret keys that signers compute MACs with, beside the keys that they sign with. */
export interface MacKeys {
  /**
   * Makes a key known to all present and later signers. Resolves when at least one of them has
   * found it, checked its attributes and compared its check value.
   *
   * @throws PkiError HSM_KEY_NOT_FOUND, HSM_KEY_UNFIT, HSM_UNAVAILABLE, HSM_FAILED
   */
  useMacKey(key: MacKeyHandle): Promise<void>;
  /**
   * HMAC-SHA256 by a key in use, 32 bytes.
   *
   * @throws PkiError HSM_KEY_NOT_FOUND, HSM_UNAVAILABLE, HSM_FAILED, SHUTTING_DOWN
   */
  mac(ckaId: string, input: Buffer): Promise<Buffer>;
}
