import type { Compilable } from 'kysely';
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import { isDiskFull, storeError } from './sqlite-error.ts';
import { CompiledStatement, type Builder, type Slots, type Statement, type Values } from './statement.ts';

interface Job {
  readonly work: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: PkiError) => void;
}

/** A group ends here even if more wait, so that the thread is not blocked for long. */
const groupBudgetMs = 10;
const preparedLimit = 400;

/**
 * The one writer. Owns the connection, its prepared statements and the queue of writes. Each write is one synchronous
 * function, so nothing can get between its statements, and no read ever sees an open transaction. Writes that wait together
 * share one commit and its fsync, each inside a savepoint: one that throws leaves nothing and disturbs no other.
 */
export class Engine {
  readonly #database: DatabaseSync;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #onDurable: (() => void) | undefined;
  readonly #prepared = new Map<string, StatementSync>();
  readonly #afterCommit: (() => void)[] = [];
  readonly #onRollback: (() => void)[] = [];
  readonly #beforeJob: ((first: boolean) => void)[] = [];
  readonly #beforeCommit: (() => void)[] = [];
  #queue: Job[] = [];
  #scheduled = false;
  #inside = false;
  #reading = false;
  #closing = false;

  constructor(options: { readonly database: DatabaseSync; readonly clock: Clock; readonly logger: Logger; readonly onDurable?: (() => void) | undefined }) {
    this.#database = options.database;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#onDurable = options.onDurable;
  }

  /** Defines a query that is compiled once. */
  statement<V extends Values>(): <Row>(build: (query: Builder, slot: Slots<V>) => Compilable<Row>) => Statement<V, Row> {
    return (build) => new CompiledStatement(this, build);
  }

  /** Rows of a query that is built for this call. */
  rows<Row>(query: Compilable<Row>): readonly Row[] {
    const { sql, parameters } = query.compile();
    return this.all(sql, parameters as readonly SQLInputValue[]) as readonly Row[];
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

  /** Resolves with what `work` returned, once it is durable; rejects with what it threw, and then nothing of it is left. */
  write<T>(work: () => T): Promise<T> {
    if (this.#closing) return Promise.reject(closedError());
    return this.#enqueue(work);
  }

  /** Reads run at once, between transactions. */
  read<T>(work: () => T): Promise<T> {
    if (this.#closing) return Promise.reject(closedError());
    try {
      this.#beginReading();
      return Promise.resolve(work());
    } catch (error) {
      return Promise.reject(storeError(error));
    }
  }

  /** Called before each write, `first` in its transaction or not. */
  beforeJob(callback: (first: boolean) => void): void {
    this.#beforeJob.push(callback);
  }

  /** Called inside each transaction after its last write. May write; what it throws fails the whole group. */
  beforeCommit(callback: () => void): void {
    this.#beforeCommit.push(callback);
  }

  /** Called after each commit, before the callers of its writes go on. */
  afterCommit(callback: () => void): void {
    this.#afterCommit.push(callback);
  }

  /** Called when anything was rolled back, be it one write of a group. Must not throw. */
  onRollback(callback: () => void): void {
    this.#onRollback.push(callback);
  }

  /** Waits for the writes that were accepted, runs `last` with them, and closes the connection. */
  async close(last: () => void): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    try {
      await this.#enqueue(last);
    } finally {
      this.#endReading();
      this.#prepared.clear();
      this.#database.close();
    }
  }

  /**
   * The reads of one turn of the event loop share a read transaction: taking and giving back its lock costs more than most
   * reads do. Nobody else writes, and our own writes end it first, so none of them sees anything old.
   */
  #beginReading(): void {
    if (this.#reading || this.#inside) return;
    this.#command('BEGIN');
    this.#reading = true;
    setImmediate(() => this.#endReading());
  }

  #endReading(): void {
    if (!this.#reading) return;
    this.#reading = false;
    try {
      this.#command('COMMIT');
    } catch {
      // whoever read the bad page has been told; what is left is to get out
      if (this.#database.isTransaction) this.#command('ROLLBACK');
    }
  }

  #enqueue<T>(work: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ work, resolve: resolve as (value: unknown) => void, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Not a microtask: everything that this turn of the loop read from its sockets can join.
    setImmediate(() => {
      this.#scheduled = false;
      const jobs = this.#queue;
      this.#queue = [];
      const done = jobs.length === 1 ? this.#alone(jobs) : this.#together(jobs);
      if (done < jobs.length) this.#queue = [...jobs.slice(done), ...this.#queue];
      if (this.#queue.length > 0) this.#schedule();
    });
  }

  /** Each in a transaction of its own. */
  #alone(jobs: readonly Job[]): number {
    for (const job of jobs) {
      let value: unknown;
      try {
        this.#begin();
        for (const callback of this.#beforeJob) callback(true);
        value = job.work();
        this.#commit();
      } catch (error) {
        this.#rollback();
        job.reject(storeError(error));
        continue;
      }
      this.#announce();
      job.resolve(value);
    }
    return jobs.length;
  }

  #together(jobs: readonly Job[]): number {
    const outcomes: (() => void)[] = [];
    const started = this.#clock.monotonicMs();
    let taken = 0;
    try {
      this.#begin();
      for (const job of jobs) {
        if (taken > 0 && this.#clock.monotonicMs() - started > groupBudgetMs) break;
        taken += 1;
        for (const callback of this.#beforeJob) callback(taken === 1);
        outcomes.push(this.#savepoint(job));
      }
      this.#commit();
    } catch (error) {
      this.#rollback();
      // None taken: it did not even begin, and would not for those that wait either.
      const mine = taken === 0 ? jobs : jobs.slice(0, taken);
      // A full disk refuses the group, and may still have room for the smaller ones of it.
      if (isDiskFull(error) || isDiskFull((error as Error | undefined)?.cause)) return this.#alone(mine);
      const failure = storeError(error);
      for (const job of mine) job.reject(failure);
      return mine.length;
    }
    this.#announce();
    for (const settle of outcomes) settle();
    return taken;
  }

  #savepoint(job: Job): () => void {
    this.#command('SAVEPOINT job');
    try {
      const value = job.work();
      this.#command('RELEASE job');
      return () => job.resolve(value);
    } catch (error) {
      // Some failures (disk full, I/O) end the whole transaction: then it is not this job's alone.
      if (!this.#database.isTransaction) throw error;
      this.#command('ROLLBACK TO job');
      this.#command('RELEASE job');
      for (const callback of this.#onRollback) callback();
      const refusal = storeError(error);
      return () => job.reject(refusal);
    }
  }

  #begin(): void {
    this.#endReading();
    this.#command('BEGIN IMMEDIATE');
    this.#inside = true;
  }

  #commit(): void {
    for (const callback of this.#beforeCommit) callback();
    this.#command('COMMIT');
    this.#inside = false;
    this.#onDurable?.();
  }

  #rollback(): void {
    this.#inside = false;
    for (const callback of this.#onRollback) callback();
    try {
      if (this.#database.isTransaction) this.#command('ROLLBACK');
    } catch (error) {
      this.#logger.error({ err: error }, 'a transaction could not be rolled back');
    }
  }

  #announce(): void {
    for (const callback of this.#afterCommit) {
      try {
        callback();
      } catch (error) {
        this.#logger.error({ err: error }, 'a listener on commits failed');
      }
    }
  }

  #command(sql: string): void {
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

const closedError = (): PkiError => new PkiError('SHUTTING_DOWN', 'the store is closed');
