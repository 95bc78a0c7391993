/** The rows of OCSP answers. See `OcspRecord`. */
export interface OcspAnswerTable {
  readonly serial: Uint8Array;
  readonly signer: number;
  readonly form: number;
  readonly revoked_at: number | null;
  readonly reason: string | null;
  readonly produced_at: number;
  readonly this_update: number;
  readonly next_update: number;
  readonly due_at: number;
  readonly not_after: number;
  readonly sha1_signature: Uint8Array;
  readonly sha256_signature: Uint8Array;
}
