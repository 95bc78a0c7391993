import { approvalCases } from './store-suite-approvals.ts';
import { agentCases } from './store-suite-agents.ts';
import { authorityCases } from './store-suite-authorities.ts';
import { certificateCases } from './store-suite-certificates.ts';
import { entryCases } from './store-suite-entries.ts';
import { entryChangeCases } from './store-suite-changes.ts';
import { issuanceCases } from './store-suite-issuance.ts';
import { logCases } from './store-suite-log.ts';
import { recordCases } from './store-suite-records.ts';
import { revocationCases } from './store-suite-revocations.ts';
import { retentionCases } from './store-suite-retention.ts';
import { rightsCases } from './store-suite-rights.ts';
import { rotationCases } from './store-suite-rotations.ts';
import type { OpenStore } from './store-fixtures.ts';

/**
 * What every engine behind the store's contract must do. `open` gives a new, empty database each
 * time.
 */
export function storeSuite(name: string, open: OpenStore): void {
  issuanceCases(name, open);
  rightsCases(name, open);
  certificateCases(name, open);
  authorityCases(name, open);
  entryCases(name, open);
  entryChangeCases(name, open);
  agentCases(name, open);
  recordCases(name, open);
  logCases(name, open);
  approvalCases(name, open);
  rotationCases(name, open);
  revocationCases(name, open);
  retentionCases(name, open);
}
