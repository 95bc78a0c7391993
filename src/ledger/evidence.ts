import type { EvidenceStore } from '../store/ports/index.ts';
import type { Objects } from './objects.ts';

export interface LedgerEvidence extends EvidenceStore {
  /**
   * SHA-256 of the evidence statement that the log commits to for the newest activation of this
   * authority. Undefined if there is none. Answered from memory.
   */
  expected(authorityId: string): string | undefined;
  /** Announces to the listeners of `objects.onMismatch` that this list differs from the log. */
  altered(authorityId: string): void;
}

export const ledgerEvidence = (rows: EvidenceStore, objects: Objects): LedgerEvidence => ({
  statement: (sha256) => rows.statement(sha256),
  chunk: (sha256, index) => rows.chunk(sha256, index),
  expected: (authorityId) => objects.evidenceOf(authorityId),
  altered: (authorityId) =>
    objects.announce({ kind: 'activation-evidence', id: authorityId, found: 'differs' }),
});
