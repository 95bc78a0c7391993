import type { Migration } from './migration.ts';

/** The versions of the policy of issuance. Rows are only added. */
const sql = `
CREATE TABLE issuance_policies (
  version INTEGER PRIMARY KEY,
  text TEXT NOT NULL,
  sha256 BLOB NOT NULL,
  reason TEXT NOT NULL,
  activated_at INTEGER NOT NULL,
  activated_by TEXT NOT NULL
) STRICT;
`;

export const issuancePolicies: Migration = { version: 15, name: 'issuance-policies', sql };
