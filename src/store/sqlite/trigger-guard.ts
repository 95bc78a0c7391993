import type { DatabaseSync } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';

/**
 * Gives a check for the begin of each write: a trigger that somebody else put into the database
 * would run inside our own transactions, and change what we write before its record commits to it.
 * SQLite has no other code that a file can bring with it and that writes. The schema is read again
 * only when its version has changed.
 */
export function createTriggerGuard(database: DatabaseSync): () => void {
  const version = database.prepare('PRAGMA schema_version');
  const triggers = database.prepare(`SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'`);
  let checked: unknown;
  return () => {
    const present = (version.get() as { schema_version: number }).schema_version;
    if (present === checked) return;
    const foreign = (triggers.all() as { name: string; sql: string }[]).find(
      ({ name, sql }) => ours[name] !== sql,
    );
    if (foreign !== undefined) {
      throw new PkiError(
        'STORE_CORRUPT',
        `the database has a trigger ${JSON.stringify(foreign.name.slice(0, 64))} that is not of this program: nothing is written`,
        {
          next: `Find out who put it there. DROP TRIGGER removes it; restore a backup if anything was written before it was noticed.`,
        },
      );
    }
    checked = present;
  };
}

const appendOnly = (act: 'UPDATE' | 'DELETE'): string =>
  `CREATE TRIGGER audit_refuses_${act.toLowerCase()} BEFORE ${act} ON audit BEGIN SELECT RAISE(ABORT, 'audit records are append-only'); END`;
const ours: Readonly<Record<string, string>> = {
  audit_refuses_update: appendOnly('UPDATE'),
  audit_refuses_delete: appendOnly('DELETE'),
};
