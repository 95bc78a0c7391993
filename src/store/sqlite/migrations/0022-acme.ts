import type { Migration } from './migration.ts';

/**
 * Tenants, and what ACME keeps: keys for external account binding, accounts, orders with their
 * authorizations, and the marks of used nonces.
 */
const sql = `
CREATE TABLE tenants (
  name TEXT PRIMARY KEY,
  description TEXT NOT NULL,
  dns_suffixes TEXT NOT NULL,
  spiffe_prefixes TEXT NOT NULL,
  quota_certificates INTEGER NOT NULL,
  quota_seconds INTEGER NOT NULL,
  state TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT;

CREATE TABLE eab_keys (
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  description TEXT NOT NULL,
  dns_patterns TEXT NOT NULL,
  ip_ranges TEXT NOT NULL,
  wildcards INTEGER NOT NULL,
  profiles TEXT NOT NULL,
  ttl_seconds INTEGER NOT NULL,
  key_types TEXT NOT NULL,
  proof TEXT NOT NULL,
  challenge_types TEXT NOT NULL,
  accounts TEXT NOT NULL,
  account_id TEXT,
  quota_certificates INTEGER NOT NULL,
  quota_seconds INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT;
CREATE INDEX eab_keys_tenant ON eab_keys (tenant, id);

CREATE TABLE acme_accounts (
  id TEXT PRIMARY KEY,
  algorithm TEXT NOT NULL,
  jwk TEXT NOT NULL,
  thumbprint TEXT NOT NULL UNIQUE,
  contacts TEXT NOT NULL,
  status TEXT NOT NULL,
  eab_key_id TEXT NOT NULL,
  tenant TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX acme_accounts_tenant ON acme_accounts (tenant, id);
CREATE INDEX acme_accounts_key ON acme_accounts (eab_key_id, id);

CREATE TABLE acme_orders (
  id TEXT PRIMARY KEY,
  account_id TEXT NOT NULL,
  eab_key_id TEXT NOT NULL,
  tenant TEXT NOT NULL,
  authorizations TEXT NOT NULL,
  profile TEXT NOT NULL,
  replaces BLOB,
  stage TEXT NOT NULL,
  validating INTEGER NOT NULL,
  csr_der BLOB,
  serial BLOB,
  problem TEXT,
  expires_at INTEGER NOT NULL,
  ends_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;
CREATE INDEX acme_orders_account ON acme_orders (account_id, id);
CREATE INDEX acme_orders_tenant ON acme_orders (tenant, id);
CREATE INDEX acme_orders_end ON acme_orders (ends_at, id);
CREATE INDEX acme_orders_serial ON acme_orders (serial) WHERE serial IS NOT NULL;
CREATE INDEX acme_orders_replaces ON acme_orders (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX acme_orders_finalizing ON acme_orders (id) WHERE stage = 'finalizing';
CREATE INDEX acme_orders_validating ON acme_orders (id) WHERE validating = 1;

CREATE TABLE acme_nonces (
  id TEXT PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`;

export const acme: Migration = { version: 22, name: 'acme', sql };
