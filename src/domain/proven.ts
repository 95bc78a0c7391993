declare class ProofMark {
  /** Makes the type nominal: a spread or a rebuilt object has no such member. */
  protected readonly mark: true;
}

/**
 * A value that the audit log commits to in exactly this form. Only the ledger makes one: it
 * computes the digest anew from every field, compares it with the log, and freezes the value. A
 * changed copy is of another type, and does not pass when it is proven again.
 */
export type Proven<T> = T & ProofMark;
