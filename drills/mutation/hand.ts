import { DatabaseSync } from 'node:sqlite';

export type Value = null | number | string | Uint8Array;
export type Row = Readonly<Record<string, Value>>;

export interface Table {
  readonly name: string;
  readonly columns: readonly string[];
  /** The columns of the primary key. */
  readonly key: readonly string[];
  /** The columns of other tables that the columns refer to. */
  readonly references: readonly {
    readonly column: string;
    readonly otherTable: string;
    readonly otherColumn: string;
  }[];
}

/** One row before and after. `before` undefined: the row is new; `after` undefined: it is gone. */
export interface RowChange {
  readonly table: Table;
  readonly before: Row | undefined;
  readonly after: Row | undefined;
}

/**
 * Whoever can write to the database past the server. One per engine. The drill knows tables and
 * columns from here alone, so that a new one takes part without anybody remembering.
 */
export interface ForeignHand {
  tables(): readonly Table[];
  rows(table: Table): readonly Row[];
  /**
   * Returns the changes that were made, with the rows as they were at that time. The others are
   * against the schema. Of a changed row only the columns that differ are written: the server may
   * have written the others meanwhile.
   */
  change(changes: readonly RowChange[]): readonly RowChange[];
  /** Writes the database as it is now to a file. */
  copyTo(path: string): void;
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
const ofKey = ({ key }: Table): string => key.map((name) => `${quoted(name)} = ?`).join(' AND ');
const valuesOf = (row: Row, names: readonly string[]): Value[] =>
  names.map((name) => row[name] as Value);

/** Beside a running server, or after its end. */
export class SqliteHand implements ForeignHand {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  tables(): readonly Table[] {
    return this.#open((database) =>
      database
        .prepare(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`)
        .all()
        .map(({ name }) => {
          const columns = database.prepare(`PRAGMA table_info(${quoted(String(name))})`).all() as {
            name: string;
            pk: number;
          }[];
          return {
            name: String(name),
            columns: columns.map((column) => column.name),
            key: columns.filter(({ pk }) => pk > 0).map((column) => column.name),
            references: database
              .prepare(`PRAGMA foreign_key_list(${quoted(String(name))})`)
              .all()
              .map(({ from, table, to }) => ({
                column: String(from),
                otherTable: String(table),
                otherColumn: String(to),
              })),
          };
        })
        .sort((one, other) => (one.name < other.name ? -1 : 1)),
    );
  }

  rows(table: Table): readonly Row[] {
    return this.#open(
      (database) =>
        database.prepare(`SELECT * FROM ${quoted(table.name)}`).all() as unknown as Row[],
    );
  }

  change(changes: readonly RowChange[]): readonly RowChange[] {
    return this.#open((database) => {
      // to drop a trigger makes the server prepare all its statements again
      const tables = new Set(changes.map(({ table }) => table.name));
      const triggers = (
        database
          .prepare(`SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'`)
          .all() as { name: string; tbl_name: string; sql: string }[]
      ).filter((trigger) => tables.has(trigger.tbl_name));
      database.exec('PRAGMA synchronous = OFF');
      database.exec('BEGIN IMMEDIATE');
      for (const { name } of triggers) database.exec(`DROP TRIGGER ${quoted(name)}`);
      const made = changes.flatMap((change): readonly RowChange[] => {
        const present = presentChange(database, change);
        return present !== undefined && changeRow(database, present) ? [present] : [];
      });
      for (const trigger of triggers) database.exec(trigger.sql);
      database.exec('COMMIT');
      return made;
    });
  }

  copyTo(path: string): void {
    this.#open((database) => database.prepare('VACUUM INTO ?').run(path));
  }

  #open<T>(work: (database: DatabaseSync) => T): T {
    const database = new DatabaseSync(this.#path, {
      timeout: 20_000,
      enableForeignKeyConstraints: false,
    });
    try {
      return work(database);
    } finally {
      database.close();
    }
  }
}

/** The change of the row as it is now; undefined: the row has gone. */
function presentChange(database: DatabaseSync, change: RowChange): RowChange | undefined {
  const { table, before, after } = change;
  if (before === undefined) return change;
  const row = database
    .prepare(`SELECT * FROM ${quoted(table.name)} WHERE ${ofKey(table)}`)
    .get(...valuesOf(before, table.key)) as Row | undefined;
  if (row === undefined) return undefined;
  if (after === undefined) return { table, before: row, after };
  const changed = table.columns.filter((column) => !sameValue(before[column], after[column]));
  const values = Object.fromEntries(changed.map((column) => [column, after[column] as Value]));
  return { table, before: row, after: { ...row, ...values } };
}

/** SQLITE_CONSTRAINT, and SQLITE_MISMATCH of the type of a column. */
const refusals: ReadonlySet<number> = new Set([19, 20]);

/** False: the schema refuses the row. */
function changeRow(database: DatabaseSync, { table, before, after }: RowChange): boolean {
  const name = quoted(table.name);
  const { columns, key } = table;
  try {
    if (after === undefined)
      return (
        before !== undefined &&
        database.prepare(`DELETE FROM ${name} WHERE ${ofKey(table)}`).run(...valuesOf(before, key))
          .changes === 1
      );
    if (before === undefined)
      return (
        database
          .prepare(
            `INSERT INTO ${name} (${columns.map(quoted).join()}) VALUES (${columns.map(() => '?').join()})`,
          )
          .run(...valuesOf(after, columns)).changes === 1
      );
    const changed = columns.filter((column) => !sameValue(before[column], after[column]));
    return (
      changed.length > 0 &&
      database
        .prepare(
          `UPDATE ${name} SET ${changed.map((column) => `${quoted(column)} = ?`).join()} WHERE ${ofKey(table)}`,
        )
        .run(...valuesOf(after, changed), ...valuesOf(before, key)).changes === 1
    );
  } catch (thrown) {
    const { errcode } = thrown as { readonly errcode?: number };
    if (errcode === undefined || !refusals.has(errcode & 0xff)) throw thrown;
    return false;
  }
}

export const sameValue = (one: Value | undefined, other: Value | undefined): boolean =>
  one instanceof Uint8Array && other instanceof Uint8Array
    ? Buffer.from(one).equals(other)
    : one === other;
