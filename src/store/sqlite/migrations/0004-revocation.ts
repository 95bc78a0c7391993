import type { Migration } from './migration.ts';

/* Kept apart from the certificates, whose table is written most: few are ever revoked. */
const sql = `
CREATE TABLE revocations (
  serial BLOB PRIMARY KEY,
  authority_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  revoked_at INTEGER NOT NULL,
  revoked_by TEXT NOT NULL,
  not_after INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_by_authority ON revocations (authority_id, not_after);

-- The newest of each authority. Numbers only grow, also over a restart.
CREATE TABLE crls (
  authority_id TEXT PRIMARY KEY,
  number INTEGER NOT NULL,
  this_update INTEGER NOT NULL,
  next_update INTEGER NOT NULL,
  der BLOB NOT NULL
) STRICT, WITHOUT ROWID;
`;

export const revocation: Migration = { version: 4, name: 'revocation', sql };
