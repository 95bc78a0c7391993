import type { ErrorCode } from '../common/errors/index.ts';
import type { KeyType } from '../common/x509/key-type.ts';

/** A key that signers may use. */
export interface KeyHandle {
  /** CKA_ID, lower-case hex. */
  readonly ckaId: string;
  readonly keyType: KeyType;
  /**
   * SubjectPublicKeyInfo from the authority's recorded certificate. Each signature is verified with
   * it before it leaves the signer.
   */
  readonly spkiDer: Buffer;
  /** The token of a `SignerRouter` that holds the key. Default: its first token. */
  readonly token?: string;
}

/**
 * The proof that a requester holds the private key. The signer checks it before the token signs.
 */
export interface ProofOfPossession {
  readonly spkiDer: Buffer;
  readonly signedBytes: Buffer;
  readonly signature: Buffer;
  /** Hash and scheme of the proof's signature. */
  readonly algorithm:
    | 'ecdsa-sha256'
    | 'ecdsa-sha384'
    | 'ecdsa-sha512'
    | 'rsa-sha256'
    | 'rsa-sha384'
    | 'rsa-sha512';
}

export interface SignItem {
  readonly ckaId: string;
  /**
   * The bytes to sign (a TBSCertificate, TBSCertList or JWS signing input). The signer hashes them.
   */
  readonly bytes: Buffer;
  /**
   * `x509`: ECDSA as DER Ecdsa-Sig-Value. `jose`: ECDSA as r || s (RFC 7518, section 3.4). RSA is
   * the same in both.
   */
  readonly format: 'x509' | 'jose';
  readonly proof?: ProofOfPossession;
  /**
   * Nobody waits for it: items for which somebody does go first, unless it has waited for long, and
   * it keeps no signer for more than some milliseconds.
   */
  readonly background?: true;
}

export type SignOutcome =
  | { readonly ok: true; readonly signature: Buffer }
  /**
   * `refused`: the item is invalid (KEY_WEAK, CSR_SIGNATURE_INVALID), and nothing was signed.
   * `failed`: the token gave no signature (HSM_UNAVAILABLE, HSM_FAILED, HSM_KEY_NOT_FOUND), or was
   * not asked (OVERLOADED, SHUTTING_DOWN), or the port is fatal (HSM_SIGNATURE_INVALID,
   * HSM_PIN_WRONG, HSM_PIN_LOCKED).
   */
  | {
      readonly ok: false;
      readonly kind: 'refused' | 'failed';
      readonly code: ErrorCode;
      readonly message: string;
    };

/**
 * The signing port. Outcomes are in the order of the items. A failed item never makes the call
 * throw. If its signer died, an item may or may not have been signed in the token. Its outcome is
 * `failed`, the port never tries it again, and the caller's recorded intent stays unfinished. A
 * signature that does not verify is never returned, and makes the port fatal
 * (HSM_SIGNATURE_INVALID) until restart.
 */
export interface Signers {
  /**
   * Makes a key known to all present and later signers. Resolves when at least one of them has
   * found it, checked its attributes and signed with it.
   *
   * @throws PkiError HSM_KEY_NOT_FOUND, HSM_KEY_UNFIT, HSM_UNAVAILABLE, HSM_FAILED;
   *   HSM_SIGNATURE_INVALID, fatal to the port, if the token's key does not belong to `spkiDer`
   */
  useKey(key: KeyHandle): Promise<void>;
  /**
   * Call this before a key is destroyed in its token. Signers probe each key in use, and treat its
   * loss as a loss of the token.
   */
  forgetKey(ckaId: string): Promise<void>;
  /**
   * After an abort of `signal`, items that no signer has received yet are not signed (CANCELLED).
   * Absent: all items are signed, as after a durable intent.
   */
  sign(items: readonly SignItem[], signal?: AbortSignal): Promise<readonly SignOutcome[]>;
  state(): SignersState;
  /** Called at each change of `state().status`. Returns the unsubscribe function. */
  onChange(listener: (state: SignersState) => void): () => void;
  close(): Promise<void>;
}

export interface SignersState {
  /**
   * `open`: the circuit is open, and calls fail at once with HSM_UNAVAILABLE. `fatal`: an invalid
   * signature, or a wrong or locked PIN at a respawn. Nothing is signed until restart, or after a
   * refused PIN until another one is given.
   */
  readonly status: 'starting' | 'ready' | 'degraded' | 'open' | 'fatal' | 'closed';
  /** `CODE: message` of what keeps the status from `ready`. */
  readonly reason: string | undefined;
  /** Its code, where an error is the reason. */
  readonly code: ErrorCode | undefined;
  readonly signers: number;
  readonly signersReady: number;
  readonly respawns: number;
  readonly inFlight: number;
  /** The number of signatures since start. */
  readonly signatures: number;
  /** The number of hand-overs to a signer process since start. */
  readonly chunks: number;
}
