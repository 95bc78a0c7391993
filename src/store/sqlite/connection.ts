import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';
import { storeError } from './sqlite-error.ts';

const preparedLimit = 400;

/**
 * One connection with its prepared statements and its open transaction. Only the engine uses it.
 */
export class DatabaseConnection {
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();
  readonly #readOnce = new Map<string, unknown>();
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
   * The reads of one turn of the event loop share a read transaction: its lock costs more than most
   * reads. There is no other writer, and our own writes end it first, so that no read is stale.
   */
  beginReading(): void {
    if (this.#reading || this.#inside) return;
    this.command('BEGIN');
    this.#reading = true;
    setImmediate(() => this.#endReading());
  }

  /**
   * The result of a read, which the readers of one read transaction share: another read would find
   * the same rows. `key` names the read. Nobody may change the result.
   */
  once<T>(key: string, read: () => T): T {
    if (!this.#reading) return read();
    if (this.#readOnce.has(key)) return this.#readOnce.get(key) as T;
    const value = read();
    this.#readOnce.set(key, value);
    return value;
  }

  #endReading(): void {
    if (!this.#reading) return;
    this.#reading = false;
    this.#readOnce.clear();
    try {
      this.command('COMMIT');
    } catch {
      // the reader of the damaged page got its error; here only the transaction must end
      if (this.#database.isTransaction) this.command('ROLLBACK');
    }
  }

  /** Begins a write. Ends the shared read transaction. */
  begin(): void {
    this.#endReading();
    this.command('BEGIN IMMEDIATE');
    this.#inside = true;
  }

  commit(): void {
    this.command('COMMIT');
    this.#inside = false;
  }

  /** Also if the transaction has already ended by itself. */
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
    const cached = this.#prepared.get(sql);
    if (cached !== undefined) return cached;
    // Filters produce a bounded number of texts. The limit only stops the growth after a defect.
    if (this.#prepared.size >= preparedLimit) this.#prepared.clear();
    const statement = this.#database.prepare(sql);
    this.#prepared.set(sql, statement);
    return statement;
  }
}
