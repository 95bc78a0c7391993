import type { Migration } from './migration.ts';

/*
 * The consumers that were counted when an authority began to sign: a statement, whose SHA-256 is in
 * the record of the activation, and the consumers in parts. Written once, never changed.
 */
const sql = `
CREATE TABLE activation_evidence (
  sha256 TEXT PRIMARY KEY,
  authority_id TEXT NOT NULL REFERENCES authorities (id),
  created_at INTEGER NOT NULL,
  statement BLOB NOT NULL
) STRICT;
CREATE TABLE activation_evidence_parts (
  sha256 TEXT NOT NULL REFERENCES activation_evidence (sha256),
  position INTEGER NOT NULL,
  deflated BLOB NOT NULL,
  PRIMARY KEY (sha256, position)
) STRICT;
`;

export const evidence: Migration = { version: 7, name: 'evidence', sql };
