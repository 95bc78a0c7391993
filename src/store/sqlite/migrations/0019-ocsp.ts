import type { Migration } from './migration.ts';

/*
 * OCSP answers by the serial of their leaf. Serials begin with the time, so that answers that are
 * signed together lie together.
 */
const sql = `
CREATE TABLE ocsp_answers (
  serial BLOB PRIMARY KEY,
  signer INTEGER NOT NULL,
  form INTEGER NOT NULL,
  revoked_at INTEGER,
  reason TEXT,
  produced_at INTEGER NOT NULL,
  this_update INTEGER NOT NULL,
  next_update INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  sha1_signature BLOB NOT NULL,
  sha256_signature BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ocsp_answers_by_due ON ocsp_answers (due_at);
CREATE INDEX ocsp_answers_by_end ON ocsp_answers (not_after);
`;

export const ocsp: Migration = { version: 19, name: 'ocsp', sql };
