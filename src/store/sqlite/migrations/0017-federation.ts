import type { Migration } from './migration.ts';

/** Foreign trust domains: the relationships, the bundles accepted last, and which entries name them. */
const sql = `
ALTER TABLE entries ADD COLUMN federates_with TEXT NOT NULL DEFAULT '[]';

CREATE INDEX entries_federating ON entries (parent_id, id) WHERE federates_with <> '[]';

CREATE TABLE federation (
  trust_domain TEXT PRIMARY KEY,
  id TEXT NOT NULL,
  endpoint_url TEXT NOT NULL,
  endpoint_profile TEXT NOT NULL,
  endpoint_spiffe_id TEXT NOT NULL,
  web_roots TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT;

CREATE TABLE foreign_bundles (
  trust_domain TEXT PRIMARY KEY,
  relationship_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  refresh_hint_seconds INTEGER NOT NULL,
  roots TEXT NOT NULL,
  jwt_keys TEXT NOT NULL,
  document_sha256 TEXT NOT NULL,
  received_at INTEGER NOT NULL
) STRICT;
`;

export const federation: Migration = { version: 17, name: 'federation', sql };
