declare class ProofMark {
  /** Makes the type nominal: a spread or rebuilt object has no such member. */
  protected readonly mark: true;
}

/**
 * A value that the audit log commits to in exactly this form. Only the ledger makes one: it
 * computes the digest from every field, compares it with the log, and freezes the value. A changed
 * copy has another type, and fails the proof.
 */
export type Proven<T> = T & ProofMark;
