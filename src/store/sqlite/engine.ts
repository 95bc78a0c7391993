import type { Compilable } from 'kysely';
import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';
import { errorFields, atTurnEnd, type Clock, type Logger } from '../../common/runtime/index.ts';
import { CommitHealth } from './commit-health.ts';
import { CommitHooks } from './commit-hooks.ts';
import { DatabaseConnection } from './connection.ts';
import { isDiskFull, storeError } from './sqlite-error.ts';
import type { CommitFacts, FailingCommits } from '../ports/index.ts';
import {
  CompiledStatement,
  type Builder,
  type Slots,
  type Statement,
  type Values,
} from './statement.ts';

interface Job {
  readonly work: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: PkiError) => void;
}

/**
 * A write whose transaction is committed. `settle` may also tell that its own part was rolled back.
 */
interface Committed {
  readonly job: Job;
  readonly settle: () => void;
}

/** A group ends here even if more wait, so that the thread is not blocked for long. */
const groupBudgetMs = 10;

/**
 * Makes all that was committed survive a loss of power. Rejects when it can not be known whether it
 * does.
 */
export type MakeDurable = () => Promise<void>;

/**
 * The one writer. Owns the connection and the queue of writes. Each write is one synchronous
 * function, so nothing can get between its statements, and no read ever sees an open transaction.
 * Writes that wait together share one commit, each inside a savepoint: one that throws leaves
 * nothing and disturbs no other.
 *
 * A commit is made durable off this thread. Until it is, nobody is told of it: its callers wait,
 * reads that may have seen it wait as well, and what arrives meanwhile is the next group. When it
 * can not be made durable, nothing is read or written any more, since nobody knows what the disk
 * holds.
 */
export class Engine extends CommitHooks {
  readonly #connection: DatabaseConnection;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #makeDurable: MakeDurable | undefined;
  readonly #health: CommitHealth;
  readonly #commitListeners = new Set<(commit: CommitFacts) => void>();
  readonly #onDurable: (() => void) | undefined;
  #queue: Job[] = [];
  #scheduled = false;
  #closing = false;
  /** While the last commit is being made durable. */
  #pending: Promise<void> | undefined;
  #broken: PkiError | undefined;

  /**
   * Without `makeDurable` a commit counts as durable when it returns. `onDurable` is called before
   * any caller knows.
   */
  constructor(options: {
    readonly database: DatabaseSync;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly makeDurable?: MakeDurable | undefined;
    readonly onDurable?: (() => void) | undefined;
  }) {
    super();
    this.#connection = new DatabaseConnection(options.database);
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#makeDurable = options.makeDurable;
    this.#onDurable = options.onDurable;
    this.#health = new CommitHealth(options.clock, () => void this.#probe().catch(() => {}));
  }

  /** Defines a query that is compiled once. */
  statement<V extends Values>(): <Row>(
    build: (query: Builder, slot: Slots<V>) => Compilable<Row>,
  ) => Statement<V, Row> {
    return (build) => new CompiledStatement(this, build);
  }

  /** Rows of a query that is built for this call. */
  rows<Row>(query: Compilable<Row>): readonly Row[] {
    const { sql, parameters } = query.compile();
    return this.all(sql, parameters as readonly SQLInputValue[]) as readonly Row[];
  }

  all(sql: string, parameters: readonly SQLInputValue[]): readonly unknown[] {
    return this.#connection.all(sql, parameters);
  }

  get(sql: string, parameters: readonly SQLInputValue[]): unknown {
    return this.#connection.get(sql, parameters);
  }

  run(sql: string, parameters: readonly SQLInputValue[]): number {
    return this.#connection.run(sql, parameters);
  }

  /**
   * Resolves with what `work` returned, once it is durable; rejects with what it threw, and then
   * nothing of it is left.
   */
  write<T>(work: () => T): Promise<T> {
    if (this.#closing) return Promise.reject(closedError());
    return this.#enqueue(work);
  }

  /** Reads run at once, between transactions. Resolves when what was read is durable. */
  read<T>(work: () => T): Promise<T> {
    const reading = this.look(work);
    const pending = this.#pending;
    return pending === undefined ? reading : reading.then((value) => pending.then(() => value));
  }

  /**
   * A read that does not wait for what it saw to be durable: for what nobody is told of before a
   * write after it is, since whatever is durable has everything before it on the disk as well.
   */
  look<T>(work: () => T): Promise<T> {
    if (this.#closing || this.#broken !== undefined)
      return Promise.reject(this.#broken ?? closedError());
    try {
      this.#connection.beginReading();
      return Promise.resolve(work());
    } catch (error) {
      return Promise.reject(storeError(error));
    }
  }

  /** Why nothing is read or written any more. */
  get failure(): PkiError | undefined {
    return this.#broken;
  }

  /** Since when nothing could be committed; undefined: the last commit succeeded. */
  get failing(): FailingCommits | undefined {
    return this.#health.failing;
  }

  /**
   * While the last commit is being made durable: resolves when it is. Rejects when it can not be.
   */
  get pending(): Promise<void> | undefined {
    return this.#pending;
  }

  /** Called for each durable commit, last. */
  onCommit(listener: (commit: CommitFacts) => void): () => void {
    this.#commitListeners.add(listener);
    return () => void this.#commitListeners.delete(listener);
  }

  /** Waits for the writes that were accepted, runs `last` with them, and closes the connection. */
  async close(last: () => void): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#health.stop();
    try {
      if (this.#broken === undefined) await this.#enqueue(last);
    } finally {
      this.#connection.close();
    }
  }

  /** Writes a page of the database, and leaves it as it was. */
  #probe(): Promise<void> {
    return this.write(() => {
      const row = this.get('PRAGMA user_version', []) as { readonly user_version: number };
      this.#connection.command(`PRAGMA user_version = ${row.user_version}`);
    });
  }

  #enqueue<T>(work: () => T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ work, resolve: resolve as (value: unknown) => void, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    // what waits while a commit is made durable is its successor's group
    if (this.#scheduled || this.#pending !== undefined) return;
    this.#scheduled = true;
    // Not a microtask: everything that this turn of the loop read from its sockets can join.
    atTurnEnd('write', () => {
      this.#scheduled = false;
      const jobs = this.#queue;
      this.#queue = [];
      if (this.#broken !== undefined) {
        for (const job of jobs) job.reject(this.#broken);
        return;
      }
      const committed: Committed[] = [];
      const startedMs = this.#clock.monotonicMs();
      const done =
        jobs.length === 1 ? this.#alone(jobs, committed) : this.#together(jobs, committed);
      if (done < jobs.length) this.#queue = [...jobs.slice(done), ...this.#queue];
      if (committed.length > 0) this.#finish(committed, startedMs);
      if (this.#queue.length > 0) this.#schedule();
    });
  }

  #finish(committed: readonly Committed[], startedMs: number): void {
    if (this.#makeDurable === undefined) {
      this.#tell(committed, startedMs);
      return;
    }
    this.#pending = this.#makeDurable().then(
      () => {
        this.#pending = undefined;
        this.#tell(committed, startedMs);
        if (this.#queue.length > 0) this.#schedule();
      },
      (thrown: unknown) => {
        this.#pending = undefined;
        const error = new PkiError(
          'STORE_FAILED',
          `a commit could not be made durable: ${(thrown as Error).message}`,
          {
            cause: thrown,
            grade: 'fatal',
            next: 'Check the disk of the database, then start the server again: until then it signs nothing.',
          },
        );
        this.#broken = error;
        this.#logger.error({ ...errorFields(error) }, 'the database is not used any more');
        for (const { job } of committed) job.reject(error);
        if (this.#queue.length > 0) this.#schedule();
        throw error;
      },
    );
    // whoever reads meanwhile hears of it; nobody may
    this.#pending.catch(() => {});
  }

  #tell(committed: readonly Committed[], startedMs: number): void {
    this.#health.succeeded();
    this.#onDurable?.();
    this.#call(this.hooks.afterDurable);
    for (const { settle } of committed) settle();
    const facts = {
      writes: committed.length,
      seconds: (this.#clock.monotonicMs() - startedMs) / 1000,
    };
    for (const listener of this.#commitListeners) listener(facts);
  }

  /** Each in a transaction of its own. */
  #alone(jobs: readonly Job[], committed: Committed[]): number {
    for (const job of jobs) {
      let value: unknown;
      try {
        this.#connection.begin();
        for (const callback of this.hooks.beforeJob) callback(true);
        value = job.work();
        this.#commit();
      } catch (error) {
        this.#rollback();
        this.#health.failed(error);
        job.reject(storeError(error));
        continue;
      }
      this.#call(this.hooks.afterCommit);
      committed.push({ job, settle: () => job.resolve(value) });
    }
    return jobs.length;
  }

  #together(jobs: readonly Job[], committed: Committed[]): number {
    const outcomes: Committed[] = [];
    const started = this.#clock.monotonicMs();
    let taken = 0;
    try {
      this.#connection.begin();
      for (const job of jobs) {
        if (taken > 0 && this.#clock.monotonicMs() - started > groupBudgetMs) break;
        taken += 1;
        for (const callback of this.hooks.beforeJob) callback(taken === 1);
        outcomes.push({ job, settle: this.#savepoint(job) });
      }
      this.#commit();
    } catch (error) {
      this.#rollback();
      // None taken: it did not even begin, and would not for those that wait either.
      const mine = taken === 0 ? jobs : jobs.slice(0, taken);
      // A full disk refuses the group, and may still have room for the smaller ones of it.
      if (isDiskFull(error) || isDiskFull((error as Error | undefined)?.cause))
        return this.#alone(mine, committed);
      this.#health.failed(error);
      const failure = storeError(error);
      for (const job of mine) job.reject(failure);
      return mine.length;
    }
    this.#call(this.hooks.afterCommit);
    committed.push(...outcomes);
    return taken;
  }

  #savepoint(job: Job): () => void {
    this.#connection.command('SAVEPOINT job');
    try {
      const value = job.work();
      this.#connection.command('RELEASE job');
      return () => job.resolve(value);
    } catch (error) {
      // Some failures (disk full, I/O) end the whole transaction: then it is not this job's alone.
      if (!this.#connection.isTransaction) throw error;
      this.#connection.command('ROLLBACK TO job');
      this.#connection.command('RELEASE job');
      for (const callback of this.hooks.onRollback) callback();
      const refusal = storeError(error);
      return () => job.reject(refusal);
    }
  }

  #commit(): void {
    for (const callback of this.hooks.beforeCommit) callback();
    this.#connection.commit();
  }

  #rollback(): void {
    for (const callback of this.hooks.onRollback) callback();
    try {
      this.#connection.rollback();
    } catch (error) {
      this.#logger.error({ ...errorFields(error) }, 'a transaction could not be rolled back');
    }
  }

  #call(callbacks: readonly (() => void)[]): void {
    for (const callback of callbacks) {
      try {
        callback();
      } catch (error) {
        this.#logger.error({ ...errorFields(error) }, 'a listener on commits failed');
      }
    }
  }
}

const closedError = (): PkiError => new PkiError('SHUTTING_DOWN', 'the store is closed');
