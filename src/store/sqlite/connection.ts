import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';
import { storeError } from './sqlite-error.ts';

const preparedLimit = 400;

/**
 * One connection with its prepared statements and the transaction that is open on it. The engine
 * alone uses it.
 */
export class DatabaseConnection {
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();
  #inside = false;
  #reading = false;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  all(sql: string, parameters: readonly SQLInputValue[]): readonly unknown[] {
    try {
      return this.#prepare(sql).all(...parameters);
    } catch (error) {
      throw storeError(error, sql);
    }
  }

  get(sql: string, parameters: readonly SQLInputValue[]): unknown {
    try {
      return this.#prepare(sql).get(...parameters);
    } catch (error) {
      throw storeError(error, sql);
    }
  }

  run(sql: string, parameters: readonly SQLInputValue[]): number {
    if (!this.#inside) throw new PkiError('INTERNAL', 'a write outside of a transaction');
    try {
      return Number(this.#prepare(sql).run(...parameters).changes);
    } catch (error) {
      throw storeError(error, sql);
    }
  }

  get isTransaction(): boolean {
    return this.#database.isTransaction;
  }

  /**
   * The reads of one turn of the event loop share a read transaction: taking and giving back its
   * lock costs more than most reads do. Nobody else writes, and our own writes end it first, so
   * none of them sees anything old.
   */
  beginReading(): void {
    if (this.#reading || this.#inside) return;
    this.command('BEGIN');
    this.#reading = true;
    setImmediate(() => this.#endReading());
  }

  #endReading(): void {
    if (!this.#reading) return;
    this.#reading = false;
    try {
      this.command('COMMIT');
    } catch {
      // whoever read the bad page has been told; what is left is to get out
      if (this.#database.isTransaction) this.command('ROLLBACK');
    }
  }

  /** Begins a write, after whatever is read. */
  begin(): void {
    this.#endReading();
    this.command('BEGIN IMMEDIATE');
    this.#inside = true;
  }

  commit(): void {
    this.command('COMMIT');
    this.#inside = false;
  }

  /** Also where the transaction has ended by itself. */
  rollback(): void {
    this.#inside = false;
    if (this.#database.isTransaction) this.command('ROLLBACK');
  }

  close(): void {
    this.#endReading();
    this.#prepared.clear();
    this.#database.close();
  }

  command(sql: string): void {
    this.#prepare(sql).run();
  }

  #prepare(sql: string): StatementSync {
    const known = this.#prepared.get(sql);
    if (known !== undefined) return known;
    // Filters make a bounded number of texts; this only keeps a defect from growing without end.
    if (this.#prepared.size >= preparedLimit) this.#prepared.clear();
    const statement = this.#database.prepare(sql);
    this.#prepared.set(sql, statement);
    return statement;
  }
}
