import type { Migration } from './migration.ts';

/*
 * The authorities of certificates for names, and their rotations. SQLite can't change a CHECK, so
 * the tables are made anew, together with those that refer to them.
 */
const sql = `
CREATE TABLE authorities_new (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('root', 'issuing', 'jwt', 'log', 'names-root', 'names-issuing', 'ocsp')),
  state TEXT NOT NULL CHECK (state IN ('preparing', 'prepared', 'published', 'active', 'old', 'tainted', 'revoked', 'retired', 'discarded', 'withdrawn')),
  version INTEGER NOT NULL,
  key_type TEXT NOT NULL,
  token TEXT NOT NULL,
  cka_id TEXT NOT NULL UNIQUE,
  parent_id TEXT REFERENCES authorities_new (id),
  scope TEXT NOT NULL,
  spki_der BLOB,
  certificate_der BLOB,
  subject_key_id TEXT,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  activated_at INTEGER,
  tainted_at INTEGER,
  highest_jwt_expiry INTEGER NOT NULL,
  published_at INTEGER,
  taint_window_seconds INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO authorities_new SELECT id, kind, state, version, key_type, token, cka_id, parent_id, scope, spki_der, certificate_der, subject_key_id, not_before, not_after, created_at, activated_at, tainted_at, highest_jwt_expiry, published_at, taint_window_seconds FROM authorities;

CREATE TABLE activation_evidence_new (
  sha256 TEXT PRIMARY KEY,
  authority_id TEXT NOT NULL REFERENCES authorities_new (id),
  created_at INTEGER NOT NULL,
  statement BLOB NOT NULL
) STRICT;
INSERT INTO activation_evidence_new SELECT sha256, authority_id, created_at, statement FROM activation_evidence;
CREATE TABLE activation_evidence_parts_new (
  sha256 TEXT NOT NULL REFERENCES activation_evidence_new (sha256),
  position INTEGER NOT NULL,
  deflated BLOB NOT NULL,
  PRIMARY KEY (sha256, position)
) STRICT;
INSERT INTO activation_evidence_parts_new SELECT sha256, position, deflated FROM activation_evidence_parts;

DROP TABLE activation_evidence_parts;
DROP TABLE activation_evidence;
DROP TABLE authorities;
ALTER TABLE authorities_new RENAME TO authorities;
ALTER TABLE activation_evidence_new RENAME TO activation_evidence;
ALTER TABLE activation_evidence_parts_new RENAME TO activation_evidence_parts;

CREATE TABLE rotations_new (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('root', 'issuing', 'jwt', 'names-root', 'names-issuing')),
  state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'done', 'cancelled')),
  version INTEGER NOT NULL,
  spec TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO rotations_new SELECT id, kind, state, version, spec, created_by, created_at, updated_at FROM rotations;
DROP TABLE rotations;
ALTER TABLE rotations_new RENAME TO rotations;
CREATE UNIQUE INDEX rotations_under_way ON rotations (kind) WHERE state IN ('running', 'paused');
`;

export const namesAuthorities: Migration = { version: 16, name: 'names-authorities', sql };
