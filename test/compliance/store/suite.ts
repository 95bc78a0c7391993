import { acmeCases } from './suite-acme.ts';
import { acmeOrderCases } from './suite-acme-orders.ts';
import { exchangedKeyCases } from './suite-exchanged-keys.ts';
import { approvalCases } from './suite-approvals.ts';
import { agentCases } from './suite-agents.ts';
import { authorityCases } from './suite-authorities.ts';
import { blockedKeyCases } from './suite-blocked-keys.ts';
import { certificateCases } from './suite-certificates.ts';
import { entryCases } from './suite-entries.ts';
import { entryChangeCases } from './suite-changes.ts';
import { federationCases } from './suite-federation.ts';
import { issuancePolicyCases } from './suite-issuance-policies.ts';
import { issuanceCases } from './suite-issuance.ts';
import { issuedCases } from './suite-issued.ts';
import { logCases } from './suite-log.ts';
import { ocspCases } from './suite-ocsp.ts';
import { recordCases } from './suite-records.ts';
import { revocationCases } from './suite-revocations.ts';
import { quotaCases } from './suite-quotas.ts';
import { retentionCases } from './suite-retention.ts';
import { rightsCases } from './suite-rights.ts';
import { rotationCases } from './suite-rotations.ts';
import { tenantCases } from './suite-tenants.ts';
import { tokenUseCases } from './suite-token-uses.ts';
import type { OpenStore } from './fixtures.ts';

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
  issuedCases(name, open);
  revocationCases(name, open);
  blockedKeyCases(name, open);
  ocspCases(name, open);
  retentionCases(name, open);
  tokenUseCases(name, open);
  issuancePolicyCases(name, open);
  quotaCases(name, open);
  federationCases(name, open);
  tenantCases(name, open);
  acmeCases(name, open);
  acmeOrderCases(name, open);
  exchangedKeyCases(name, open);
}
