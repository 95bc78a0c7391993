import type { AuditEvent, BundleRevision } from '../../domain/index.ts';

export interface BundleStore {
  /**
   * Appends the next revision (its sequence must be the last one + 1, else CONFLICT). Moves the
   * store's revision.
   */
  append(revision: BundleRevision, event: AuditEvent): Promise<void>;
  latest(): Promise<BundleRevision | undefined>;
  /** The revisions with a higher sequence, in order. */
  since(sequence: number): Promise<readonly BundleRevision[]>;
}
