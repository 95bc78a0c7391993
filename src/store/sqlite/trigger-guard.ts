import type { DatabaseSync } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';

/**
 * Makes the check that runs at the begin of each write. A foreign trigger in the database would run
 * inside our own transactions, and change what we write before its record commits to it. A database
 * file can contain no other code that writes. The schema is read again only when its version has
 * changed.
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
        `the database has a trigger ${JSON.stringify(foreign.name.slice(0, 64))} that is ` +
          'not part of this program: nothing is written',
        {
          next: `Find out who put it there. DROP TRIGGER removes it; restore a backup if anything was written before.`,
        },
      );
    }
    checked = present;
  };
}

const appendOnly = (act: 'UPDATE' | 'DELETE'): string =>
  `CREATE TRIGGER audit_refuses_${act.toLowerCase()} BEFORE ${act} ON audit BEGIN SELECT ` +
  "RAISE(ABORT, 'audit records are append-only'); END";
const ours: Readonly<Record<string, string>> = {
  audit_refuses_update: appendOnly('UPDATE'),
  audit_refuses_delete: appendOnly('DELETE'),
};
