import type { Migration } from './migration.ts';

/* Certificates and revocations name the shard of their CRL; 0: none. CRLs are kept by shard. */
const sql = `
ALTER TABLE certificates ADD COLUMN shard INTEGER NOT NULL DEFAULT 0;
ALTER TABLE revocations ADD COLUMN shard INTEGER NOT NULL DEFAULT 0;

CREATE TABLE crls_new (
  authority_id TEXT NOT NULL,
  shard INTEGER NOT NULL,
  number INTEGER NOT NULL,
  this_update INTEGER NOT NULL,
  next_update INTEGER NOT NULL,
  der BLOB NOT NULL,
  PRIMARY KEY (authority_id, shard)
) STRICT;
INSERT INTO crls_new SELECT authority_id, 0, number, this_update, next_update, der FROM crls;
DROP TABLE crls;
ALTER TABLE crls_new RENAME TO crls;
`;

export const crlShards: Migration = { version: 21, name: 'crl-shards', sql };
