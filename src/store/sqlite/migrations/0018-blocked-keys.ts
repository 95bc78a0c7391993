import type { Migration } from './migration.ts';

/** Public keys for which nothing is issued any more. Rows are only added. */
const sql = `
CREATE TABLE blocked_keys (
  public_key_sha256 BLOB PRIMARY KEY,
  reason TEXT NOT NULL,
  blocked_at INTEGER NOT NULL,
  blocked_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`;

export const blockedKeys: Migration = { version: 18, name: 'blocked-keys', sql };
