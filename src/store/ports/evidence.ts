/**
 * The consumers that were counted before an authority signed. The transition writes them itself. A
 * read proves nothing until it was compared with the log.
 */
export interface EvidenceStore {
  statement(sha256: string): Promise<Buffer | undefined>;
  /** The part with this index (from 0). */
  chunk(sha256: string, index: number): Promise<Buffer | undefined>;
}
