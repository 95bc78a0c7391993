/**
 * Who was counted before an authority signed; written by the transition itself. What is read here
 * proves nothing until it was compared with the log.
 */
export interface EvidenceStore {
  statement(sha256: string): Promise<Buffer | undefined>;
  /** The part of that number (from 0). */
  chunk(sha256: string, index: number): Promise<Buffer | undefined>;
}
