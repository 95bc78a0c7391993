import type { Migration } from './migration.ts';

/*
 * What consumers hold beside roots, the time at which an authority entered its state, and the
 * rotation operations under way. An operation is a goal, not a list of steps: the steps follow from
 * the authorities, so that the two can not disagree.
 */
const sql = `
ALTER TABLE consumers ADD COLUMN jwt_set_digest TEXT NOT NULL DEFAULT '';
ALTER TABLE consumers ADD COLUMN issuer_set_digest TEXT NOT NULL DEFAULT '';
ALTER TABLE consumers ADD COLUMN capabilities TEXT NOT NULL DEFAULT '[]';

ALTER TABLE authorities ADD COLUMN published_at INTEGER;
ALTER TABLE authorities ADD COLUMN taint_window_seconds INTEGER;

CREATE TABLE rotations (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('root', 'issuing', 'jwt')),
  state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'done', 'cancelled')),
  version INTEGER NOT NULL,
  spec TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- What the wall clock and the time since boot were together, so that a jump shows also across a restart of the server.
CREATE TABLE clock_anchor (id INTEGER PRIMARY KEY CHECK (id = 1), boot_id TEXT NOT NULL, uptime_ms INTEGER NOT NULL, wall_ms INTEGER NOT NULL) STRICT;
-- One at a time of a kind: a second one would wait for the first anyway.
CREATE UNIQUE INDEX rotations_under_way ON rotations (kind) WHERE state IN ('running', 'paused');
`;

export const rotation: Migration = { version: 3, name: 'rotation', sql };
