/** A version of the policy of issuance. Versions count from 1; the newest is in force. */
export interface IssuancePolicyVersion {
  readonly version: number;
  /** `policySha256` of the file. */
  readonly sha256: string;
  readonly reason: string;
  readonly activatedAt: number;
  readonly activatedBy: string;
}

/** With the file, whose digest the version states. */
export interface StoredIssuancePolicy extends IssuancePolicyVersion {
  readonly text: string;
}
