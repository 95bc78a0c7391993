import type { Migration } from './migration.ts';

/**
 * What entries and delegations of names grant, and the names of certificates, by which they are
 * found: see certificate-names.ts.
 */
const sql = `
ALTER TABLE entries ADD COLUMN ips TEXT NOT NULL DEFAULT '[]';
ALTER TABLE delegations ADD COLUMN ip_ranges TEXT NOT NULL DEFAULT '[]';
ALTER TABLE delegations ADD COLUMN wildcards INTEGER NOT NULL DEFAULT 0;

CREATE TABLE certificate_names (
  name TEXT NOT NULL,
  serial BLOB NOT NULL,
  PRIMARY KEY (name, serial)
) STRICT, WITHOUT ROWID;
CREATE INDEX certificate_names_by_serial ON certificate_names (serial);
`;

export const names: Migration = { version: 20, name: 'names', sql };
