import type { Migration } from './migration.ts';

/*
 * The data of the log's tree is kept beside the audit table, which stays append-only. The index of
 * a record in the tree follows from the runs. Usually there is one run, which grows. A row that no
 * server wrote stays out and begins another run.
 */
const sql = `
CREATE TABLE authorities_new (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('root', 'issuing', 'jwt', 'log')),
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
  highest_jwt_expiry INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO authorities_new SELECT * FROM authorities;
DROP TABLE authorities;
ALTER TABLE authorities_new RENAME TO authorities;

-- One actor at a time, by name. The fence grows with each change of holder and never goes back.
CREATE TABLE leases (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  fence INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row. size: leaves in the tree; sequence: the audit records up to this one were looked at.
CREATE TABLE log_head (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  size INTEGER NOT NULL,
  sequence INTEGER NOT NULL
) STRICT;
INSERT INTO log_head (id, size, sequence) VALUES (1, 0, 0);

CREATE TABLE log_runs (
  first_index INTEGER PRIMARY KEY,
  first_sequence INTEGER NOT NULL UNIQUE,
  length INTEGER NOT NULL
) STRICT;

CREATE TABLE log_excluded (
  sequence INTEGER PRIMARY KEY,
  reason TEXT NOT NULL,
  found_at INTEGER NOT NULL
) STRICT;

CREATE TABLE log_tiles (
  level INTEGER NOT NULL,
  position INTEGER NOT NULL,
  hashes BLOB NOT NULL,
  PRIMARY KEY (level, position)
) STRICT;

CREATE TABLE log_checkpoints (
  size INTEGER PRIMARY KEY,
  root BLOB NOT NULL,
  note TEXT NOT NULL,
  time_ms INTEGER NOT NULL
) STRICT;

-- Who sealed records before they were in the tree: a key that lived in one process, certified by the log's key.
CREATE TABLE log_sessions (
  id TEXT PRIMARY KEY,
  spki_der BLOB NOT NULL,
  signature BLOB NOT NULL,
  signer TEXT NOT NULL,
  started_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE log_seals (
  last_sequence INTEGER PRIMARY KEY,
  first_sequence INTEGER NOT NULL,
  session_id TEXT NOT NULL,
  signature BLOB NOT NULL
) STRICT;

-- A database that was put back from a backup signs nothing before somebody accepted what it lacks.
CREATE TABLE restores (
  id INTEGER PRIMARY KEY,
  restored_at INTEGER NOT NULL,
  accepted_at INTEGER,
  accepted_by TEXT
) STRICT;
`;

export const log: Migration = { version: 2, name: 'log', sql };
