import type { Migration } from './migration.ts';

/*
 * The certificates table is written most. Its key grows; serials and request keys start with the
 * time; the rows of one batch share holder and authority. So all its indexes, except those over
 * identity and entry, are appended to at few places. The partial indexes stay small: they cover
 * what is not issued, and what a repeated request may find.
 */
const sql = `
CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  trust_domain TEXT,
  epoch TEXT NOT NULL,
  revision INTEGER NOT NULL,
  horizon INTEGER NOT NULL,
  claimed_at INTEGER
) STRICT;
INSERT INTO meta (id, trust_domain, epoch, revision, horizon, claimed_at) VALUES (1, NULL, '', 0, 0, NULL);

CREATE TABLE certificates (
  sequence INTEGER PRIMARY KEY,
  serial BLOB NOT NULL,
  spiffe_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  profile TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('intent', 'issued', 'withheld', 'refused', 'abandoned')),
  state_reason TEXT,
  entry_id TEXT,
  delegation_id TEXT,
  requester TEXT NOT NULL,
  holder TEXT NOT NULL,
  public_key_sha256 BLOB NOT NULL,
  request_id TEXT NOT NULL,
  request_key BLOB,
  authority_id TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  sha256 BLOB,
  replaces BLOB,
  replaced_by BLOB,
  replacement_confirmed_at INTEGER,
  tbs_der BLOB,
  certificate_der BLOB,
  CHECK (state <> 'issued' OR (certificate_der IS NOT NULL AND sha256 IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX certificates_by_serial ON certificates (serial);
CREATE INDEX certificates_by_request ON certificates (request_key) WHERE state = 'issued';
CREATE INDEX certificates_by_identity ON certificates (spiffe_id, sequence);
CREATE INDEX certificates_by_entry ON certificates (entry_id, sequence) WHERE entry_id IS NOT NULL;
CREATE INDEX certificates_by_holder ON certificates (holder, not_after);
CREATE INDEX certificates_by_authority ON certificates (authority_id, not_after);
CREATE INDEX certificates_by_expiry ON certificates (not_after, sequence);
CREATE INDEX certificates_unissued ON certificates (state, sequence) WHERE state <> 'issued';

CREATE TABLE certificate_counts (state TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO certificate_counts (state, count) VALUES ('intent', 0), ('issued', 0), ('withheld', 0), ('refused', 0), ('abandoned', 0);

CREATE TABLE jwt_svids (
  sequence INTEGER PRIMARY KEY,
  jti TEXT NOT NULL UNIQUE,
  subject TEXT NOT NULL,
  audience TEXT NOT NULL,
  issued_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  authority_id TEXT NOT NULL,
  entry_id TEXT NOT NULL,
  holder TEXT NOT NULL
) STRICT;
CREATE INDEX jwt_svids_by_subject ON jwt_svids (subject, sequence);
CREATE INDEX jwt_svids_by_expiry ON jwt_svids (expires_at);

CREATE TABLE authorities (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('root', 'issuing', 'jwt')),
  state TEXT NOT NULL CHECK (state IN ('preparing', 'prepared', 'published', 'active', 'old', 'tainted', 'revoked', 'retired', 'discarded', 'withdrawn')),
  version INTEGER NOT NULL,
  key_type TEXT NOT NULL,
  token TEXT NOT NULL,
  cka_id TEXT NOT NULL UNIQUE,
  parent_id TEXT REFERENCES authorities (id),
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

CREATE TABLE bundles (
  sequence INTEGER PRIMARY KEY,
  document TEXT NOT NULL,
  jws TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE entries (
  id TEXT PRIMARY KEY,
  spiffe_id TEXT NOT NULL,
  is_template INTEGER NOT NULL,
  placeholders TEXT NOT NULL,
  parent_id TEXT NOT NULL,
  selectors TEXT NOT NULL,
  selectors_sha256 BLOB NOT NULL,
  x509_ttl_seconds INTEGER NOT NULL,
  jwt_ttl_seconds INTEGER NOT NULL,
  profile TEXT NOT NULL,
  dns_names TEXT NOT NULL,
  hint TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  admin INTEGER NOT NULL,
  downstream INTEGER NOT NULL,
  allow_weak_selectors INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT;
-- Not unique: a batch may pass through a doubled state (a swap); the end of each batch is checked instead.
CREATE INDEX entries_by_identity ON entries (spiffe_id, parent_id, selectors_sha256);
CREATE INDEX entries_by_parent ON entries (parent_id, id);
CREATE INDEX entries_by_parent_revision ON entries (parent_id, revision);
CREATE INDEX entries_by_revision ON entries (revision, parent_id);
CREATE INDEX entries_templates ON entries (id) WHERE is_template = 1;

CREATE TABLE entry_selectors (
  entry_id TEXT NOT NULL REFERENCES entries (id) ON DELETE CASCADE,
  selector TEXT NOT NULL,
  PRIMARY KEY (entry_id, selector)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_selectors_by_selector ON entry_selectors (selector, entry_id);

-- Entries that a parent had and lost, by deletion or by a move. Pruned from the low end: see meta.horizon.
CREATE TABLE entry_removals (
  position INTEGER PRIMARY KEY,
  revision INTEGER NOT NULL,
  parent_id TEXT NOT NULL,
  entry_id TEXT NOT NULL
) STRICT;
CREATE INDEX entry_removals_by_parent ON entry_removals (parent_id, revision);
CREATE INDEX entry_removals_by_revision ON entry_removals (revision, parent_id);

CREATE TABLE agents (
  spiffe_id TEXT PRIMARY KEY,
  attestation_type TEXT NOT NULL,
  selectors TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'banned', 'evicted')),
  state_reason TEXT NOT NULL,
  generation INTEGER NOT NULL,
  serial BLOB NOT NULL,
  spki_der BLOB NOT NULL,
  attested_at INTEGER NOT NULL,
  renewed_at INTEGER NOT NULL,
  svid_not_after INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  version TEXT NOT NULL,
  survived_outage_seconds INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE consumers (
  agent_id TEXT NOT NULL REFERENCES agents (spiffe_id) ON DELETE CASCADE,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  spiffe_id TEXT NOT NULL,
  authority_set_digest TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'confirmed', 'refused')),
  reason TEXT NOT NULL,
  since INTEGER NOT NULL,
  description TEXT NOT NULL,
  PRIMARY KEY (agent_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE join_tokens (
  id TEXT PRIMARY KEY,
  token_sha256 BLOB NOT NULL UNIQUE,
  agent_id TEXT NOT NULL,
  node_selectors TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  bound_public_key_sha256 BLOB,
  used_at INTEGER,
  result_serial BLOB,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE delegations (
  id TEXT PRIMARY KEY,
  client_id TEXT NOT NULL,
  patterns TEXT NOT NULL,
  max_ttl_seconds INTEGER NOT NULL,
  key_types TEXT NOT NULL,
  dns_patterns TEXT NOT NULL,
  profile TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX delegations_by_client ON delegations (client_id);

CREATE TABLE roles (
  name TEXT PRIMARY KEY,
  verbs TEXT NOT NULL,
  prefixes TEXT NOT NULL,
  members TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE role_members (
  member TEXT NOT NULL,
  role TEXT NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
  PRIMARY KEY (member, role)
) STRICT, WITHOUT ROWID;
CREATE INDEX role_members_by_role ON role_members (role);

-- Append-only. What a tree needs later (index, checkpoints) goes into tables of its own.
CREATE TABLE audit (
  sequence INTEGER PRIMARY KEY,
  time_ms INTEGER NOT NULL,
  time_high_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  canonical BLOB NOT NULL,
  sha256 BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_subject ON audit (subject, sequence);
CREATE INDEX audit_by_actor ON audit (actor, sequence);
-- Issuances outnumber all else and are found by reading on, so they pay for no index over kinds.
CREATE INDEX audit_by_kind ON audit (kind, sequence) WHERE kind <> 'certificate.issued';
CREATE TRIGGER audit_refuses_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit records are append-only'); END;
CREATE TRIGGER audit_refuses_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit records are append-only'); END;
`;

export const initial: Migration = { version: 1, name: 'initial', sql };
