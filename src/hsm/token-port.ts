import type { KeyType } from '../common/x509/key-type.ts';
import type { KeyHandle } from './signing-port.ts';

/**
 * The place of a token and its login. Signer processes get the PIN over their private channel,
 * never by argv or environment.
 */
export interface TokenConfig {
  /** Absolute path of the PKCS#11 module. */
  readonly modulePath: string;
  readonly tokenLabel: string;
  readonly pin: string;
  /** For SoftHSM: the path of softhsm2.conf, set as SOFTHSM2_CONF in the signer's environment. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** A key in a token. `meshca` is true for objects whose label starts with our prefix. */
export interface TokenKey {
  readonly ckaId: string;
  readonly label: string;
  readonly keyType: KeyType | 'other';
  readonly spkiDer: Buffer;
}

/**
 * Administrative operations on one token, in a separate process that lives from open to close. So
 * sessions of the root token exist only during that time.
 */
export interface TokenAdmin {
  /**
   * Creates a key pair in the token (SENSITIVE, not EXTRACTABLE, not MODIFIABLE, SIGN only).
   * Returns its public key.
   *
   * @throws PkiError ALREADY_EXISTS if the CKA_ID is taken
   */
  generateKey(key: {
    readonly ckaId: string;
    readonly label: string;
    readonly keyType: KeyType;
  }): Promise<{ readonly spkiDer: Buffer }>;
  /**
   * The key pair with this CKA_ID, after a check of its attributes (LOCAL, ALWAYS_SENSITIVE,
   * NEVER_EXTRACTABLE). Undefined if there is none.
   */
  findKey(ckaId: string): Promise<TokenKey | undefined>;
  /** All key pairs in the token. */
  listKeys(): Promise<readonly TokenKey[]>;
  /** Signs with a key of this token, and verifies the signature with `key.spkiDer`. */
  sign(key: KeyHandle, bytes: Buffer): Promise<Buffer>;
  /**
   * Creates a secret key of 32 bytes for HMAC-SHA256 in the token (SENSITIVE, not EXTRACTABLE, not
   * MODIFIABLE, SIGN only). Returns its check value: see `MacKeyHandle`.
   *
   * @throws PkiError ALREADY_EXISTS if the CKA_ID is taken
   */
  generateMacKey(key: {
    readonly ckaId: string;
    readonly label: string;
  }): Promise<{ readonly checkValue: Buffer }>;
  /**
   * The secret key with this CKA_ID, after a check of its attributes. Undefined if there is none.
   *
   * @throws PkiError HSM_KEY_UNFIT
   */
  findMacKey(ckaId: string): Promise<{ readonly checkValue: Buffer } | undefined>;
  destroyKey(ckaId: string): Promise<void>;
  close(): Promise<void>;
}

/**
 * Prefix of the labels of our objects, `meshca/<trust domain>/<kind>/<authority id>`, so that a
 * foreign token is recognised (TOKEN_FOREIGN).
 */
export const keyLabelPrefix = 'meshca/';
