import type { ErrorCode } from '../common/errors/index.ts';
import type { KeyType } from '../common/x509/key-type.ts';

/** A key that signers may use. */
export interface KeyHandle {
  /** CKA_ID, lower-case hex. */
  readonly ckaId: string;
  readonly keyType: KeyType;
  /**
   * SubjectPublicKeyInfo from the authority's recorded certificate: each signature is verified with
   * it before it leaves the signer.
   */
  readonly spkiDer: Buffer;
  /** Which of the tokens of a `SignerRouter` holds it; default its first. */
  readonly token?: string;
}

/** The proof that a requester holds his key: checked in the signer, before the token signs. */
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
   * The bytes to be signed (a TBSCertificate, TBSCertList or JWS signing input); the signer hashes
   * them.
   */
  readonly bytes: Buffer;
  /**
   * `x509`: ECDSA as DER Ecdsa-Sig-Value; `jose`: ECDSA as r || s (RFC 7518 section 3.4). RSA is
   * the same in both.
   */
  readonly format: 'x509' | 'jose';
  readonly proof?: ProofOfPossession;
}

export type SignOutcome =
  | { readonly ok: true; readonly signature: Buffer }
  /**
   * `refused`: the item is bad (KEY_WEAK, CSR_SIGNATURE_INVALID); nothing was signed. `failed`: the
   * token did not answer for it (HSM_UNAVAILABLE, HSM_FAILED, HSM_KEY_NOT_FOUND), it was not asked
   * (OVERLOADED, SHUTTING_DOWN), or the port is fatal (HSM_SIGNATURE_INVALID, HSM_PIN_WRONG,
   * HSM_PIN_LOCKED).
   */
  | {
      readonly ok: false;
      readonly kind: 'refused' | 'failed';
      readonly code: ErrorCode;
      readonly message: string;
    };

/**
 * The signing port. Outcomes come in the order of the items; it never throws for one item's sake.
 * An item whose signer died may or may not have been signed in the token: its outcome is `failed`
 * and it is never tried again by the port, the caller's recorded intent stays unfinished. A
 * signature that does not verify is never returned and makes the port fatal (HSM_SIGNATURE_INVALID)
 * until restart.
 */
export interface Signers {
  /**
   * Makes a key known to all signers, present and respawned ones; resolves when at least one has
   * found it, checked its attributes and signed with it. Throws HSM_KEY_NOT_FOUND, HSM_KEY_UNFIT,
   * HSM_UNAVAILABLE, HSM_FAILED; HSM_SIGNATURE_INVALID, which is fatal to the port, if the token's
   * key does not belong to `spkiDer`.
   */
  useKey(key: KeyHandle): Promise<void>;
  /**
   * To be called before a key is destroyed in its token: signers probe each key that is in use, and
   * take its loss for a loss of the token.
   */
  forgetKey(ckaId: string): Promise<void>;
  /**
   * `signal` aborted: what no signer was handed yet is not signed (CANCELLED). Absent: all is
   * signed, as after a durable intent.
   */
  sign(items: readonly SignItem[], signal?: AbortSignal): Promise<readonly SignOutcome[]>;
  state(): SignersState;
  /** Called at each change of `state().status`. Returns the unsubscribe function. */
  onChange(listener: (state: SignersState) => void): () => void;
  close(): Promise<void>;
}

export interface SignersState {
  /**
   * `open`: the circuit is open, calls fail at once with HSM_UNAVAILABLE. `fatal`: an invalid
   * signature, or a PIN that is wrong or locked at a respawn; nothing signs until restart.
   */
  readonly status: 'starting' | 'ready' | 'degraded' | 'open' | 'fatal' | 'closed';
  /** `CODE: message` of what keeps the status from being `ready`. */
  readonly reason: string | undefined;
  readonly signers: number;
  readonly signersReady: number;
  readonly respawns: number;
  readonly inFlight: number;
  /** Signatures since start. */
  readonly signatures: number;
  /** Times that signatures were handed to a signer process, since start. */
  readonly chunks: number;
}
