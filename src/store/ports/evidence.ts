/**
 * Who was counted before an authority signed; written by the transition itself. What is read here
 * proves nothing until it was compared with the log.
 */
export interface EvidenceStore {
  /**
   * SHA-256 of the statement that the log commits to for the newest activation of this authority;
   * undefined: it knows of none. From memory.
   */
  expected(authorityId: string): string | undefined;
  statement(sha256: string): Promise<Buffer | undefined>;
  /** The part of that number (from 0). */
  chunk(sha256: string, index: number): Promise<Buffer | undefined>;
  /** Tells whoever listens on `objects.onMismatch` that this list is not as the log has it. */
  altered(authorityId: string): void;
}
