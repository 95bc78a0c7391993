import type { Migration } from './migration.ts';

/** Marks of tokens of others that count once. */
const sql = `
CREATE TABLE token_uses (
  id BLOB PRIMARY KEY,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  grantee TEXT NOT NULL,
  public_key_sha256 BLOB NOT NULL,
  used_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  serial BLOB,
  ended_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX token_uses_by_expiry ON token_uses (expires_at);
`;

export const tokenUses: Migration = { version: 14, name: 'token-uses', sql };
