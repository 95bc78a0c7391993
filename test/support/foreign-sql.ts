import { DatabaseSync } from 'node:sqlite';

/** Whoever can write to the database file: past the triggers of the log, which are put back. */
export function foreignSql<T>(path: string, work: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(path, { timeout: 5_000 });
  try {
    const triggers = database
      .prepare(`SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'`)
      .all() as { name: string; sql: string }[];
    for (const { name } of triggers) database.exec(`DROP TRIGGER ${name}`);
    const value = work(database);
    for (const trigger of triggers) database.exec(trigger.sql);
    return value;
  } finally {
    database.close();
  }
}
