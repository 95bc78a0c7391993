import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';
import { storeError } from './sqlite-error.ts';

const preparedLimit = 400;
/** Far more than the callers of one moment. */
const sharedLimit = 10_000;

/**
 * One connection with its prepared statements and its open transaction. Only the engine uses it.
 */
export class DatabaseConnection {
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();
  readonly #shared = new Map<string, unknown>();
  #foreignCommits: unknown;
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
    try {
      this.#forgetAfterForeignCommit();
    } catch (error) {
      // the next readers of this turn do not look again
      this.#shared.clear();
      throw error;
    }
  }

  /**
   * The result of a read, which readers share: another read would find the same rows, as it is
   * forgotten before a write that may change them, and after a commit of another connection
   * (https://www.sqlite.org/pragma.html#pragma_data_version). `key` names the read. Nobody may change
   * the result.
   */
  once<T>(key: string, read: () => T): T {
    if (!this.#reading) return read();
    if (this.#shared.has(key)) return this.#shared.get(key) as T;
    const value = read();
    // callers choose what they ask for: what is not there takes no place
    if (value === undefined) return value;
    if (this.#shared.size >= sharedLimit) this.#shared.clear();
    this.#shared.set(key, value);
    return value;
  }

  forgetShared(): void {
    this.#shared.clear();
  }

  #forgetAfterForeignCommit(): void {
    const { data_version: version } = this.get('PRAGMA data_version', []) as {
      readonly data_version: number;
    };
    if (version !== this.#foreignCommits) this.#shared.clear();
    this.#foreignCommits = version;
  }

  #endReading(): void {
    if (!this.#reading) return;
    this.#reading = false;
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
