import type { Migration } from './migration.ts';

/* Dual control: the policy (one row), and the operations that wait or waited for approvals. */
const sql = `
CREATE TABLE approval_policy (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,
  policy TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  updated_by TEXT NOT NULL
) STRICT;

CREATE TABLE operations (
  id TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  method TEXT NOT NULL,
  proposer TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'executing', 'executed', 'failed', 'withdrawn', 'interrupted')),
  approvals TEXT NOT NULL,
  outcome TEXT NOT NULL,
  evidence TEXT NOT NULL,
  decided_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX operations_by_state ON operations (state, expires_at);
`;

export const approvals: Migration = { version: 5, name: 'approvals', sql };
