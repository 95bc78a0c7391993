import { DatabaseSync } from 'node:sqlite';

export type Value = null | number | string | Uint8Array;
export type Row = Readonly<Record<string, Value>>;

export interface Table {
  readonly name: string;
  readonly columns: readonly string[];
  /** The columns of the primary key. */
  readonly key: readonly string[];
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
  /** Returns the changes that were made. The others are against the schema. */
  change(changes: readonly RowChange[]): readonly RowChange[];
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
      const triggers = database
        .prepare(`SELECT name, sql FROM sqlite_master WHERE type = 'trigger'`)
        .all() as { name: string; sql: string }[];
      database.exec('BEGIN IMMEDIATE');
      for (const { name } of triggers) database.exec(`DROP TRIGGER ${quoted(name)}`);
      const made = changes.filter((change) => changeRow(database, change));
      for (const trigger of triggers) database.exec(trigger.sql);
      database.exec('COMMIT');
      return made;
    });
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
