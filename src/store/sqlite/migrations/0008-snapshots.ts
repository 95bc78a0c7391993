import type { Migration } from './migration.ts';

/*
 * What the log says of all objects after its first `size` records, so that a start need not read
 * those. The row is written after its parts. It counts only with a valid signature of the log's
 * key.
 */
const sql = `
CREATE TABLE log_snapshots (
  size INTEGER PRIMARY KEY,
  root BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  parts INTEGER NOT NULL,
  digest BLOB NOT NULL,
  signature BLOB NOT NULL,
  time_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE log_snapshot_parts (
  size INTEGER NOT NULL,
  position INTEGER NOT NULL,
  content BLOB NOT NULL,
  PRIMARY KEY (size, position)
) STRICT;
`;

export const snapshots: Migration = { version: 8, name: 'snapshots', sql };
