import type { AuditEvent, BundleRevision } from '../../domain/index.ts';

export interface BundleStore {
  /**
   * Appends the revision that follows the one with the sequence `after` (0: the first one; default:
   * the sequence before its own). CONFLICT if another one is the last, or if its sequence is not
   * higher. Moves the store's revision.
   */
  append(revision: BundleRevision, event: AuditEvent, after?: number): Promise<void>;
  latest(): Promise<BundleRevision | undefined>;
  /** The revisions with a higher sequence, in order. */
  since(sequence: number): Promise<readonly BundleRevision[]>;
}
