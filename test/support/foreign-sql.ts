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

/** A row as SQL reads it, by column. */
export type SqlRow = Readonly<Record<string, string | number | bigint | Uint8Array | null>>;

/** The one row that `where` finds. Throws if there is none. */
export function readRow(database: DatabaseSync, table: string, where: string): SqlRow {
  const row = database.prepare(`SELECT * FROM ${table} WHERE ${where}`).get();
  if (row === undefined) throw new Error(`${table} has no row with ${where}`);
  return row as SqlRow;
}

/** Inserts a row with all its columns, so that a new column needs no change of a test. */
export function insertRow(database: DatabaseSync, table: string, row: SqlRow): void {
  const columns = Object.keys(row);
  database
    .prepare(
      `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
    )
    .run(...Object.values(row));
}
