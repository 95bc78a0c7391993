import type { Compilable } from 'kysely';
import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import { PkiError } from '../../common/errors/index.ts';
import { errorFields, atTurnEnd, type Clock, type Logger } from '../../common/runtime/index.ts';
import { CommitHealth } from './commit-health.ts';
import { callEach, CommitHooks, type WriteKind } from './commit-hooks.ts';
import { DatabaseConnection } from './connection.ts';
import { orAborted } from './or-aborted.ts';
import { isDiskFull, notDurableError, storeError } from './sqlite-error.ts';
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
  readonly kind: WriteKind;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: PkiError) => void;
}

/**
 * A write whose transaction is committed. `settle` may also report that its own part was rolled
 * back.
 */
interface Committed {
  readonly job: Job;
  readonly settle: () => void;
}

/**
 * The group ends after this time even if more writes wait, so that the thread is not blocked for
 * long.
 */
const groupBudgetMs = 10;

/**
 * Makes all commits so far survive a loss of power: before it returns undefined, or before the
 * promise resolves. Throws or rejects if that is uncertain.
 */
export type MakeDurable = () => Promise<void> | undefined;

/**
 * The one writer. Owner of the connection and of the queue of writes. Each write is one synchronous
 * function, so that nothing runs between its statements, and no read sees an open transaction.
 * Writes that wait together share one commit, each inside a savepoint: a write that throws leaves
 * nothing and does not affect the others.
 *
 * A commit may be made durable off this thread. Nobody is told of it before: its callers wait, reads
 * that may have seen it wait too, and new writes form the next group. If it can not be made
 * durable, nothing is read or written any more, because the state of the disk is unknown.
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
  /** Pending while the last commit is being made durable. */
  #pending: Promise<void> | undefined;
  #broken: PkiError | undefined;

  /**
   * Without `makeDurable`, a commit counts as durable when it returns. `onDurable` is called before
   * any caller is told.
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
   * Resolves with the result of `work`, once it is durable. Rejects with what `work` threw; then
   * nothing of it is left. If `signal` is aborted before the transaction begins, the transaction
   * does not begin. A transaction that has begun is finished.
   */
  write<T>(work: () => T, signal?: AbortSignal): Promise<T> {
    if (this.#closing) return Promise.reject(closedError());
    return this.#enqueue(work, { kind: 'other', signal });
  }

  /** The same for a write of this kind: see WriteKind. */
  writeIssuance<T>(work: () => T): Promise<T> {
    if (this.#closing) return Promise.reject(closedError());
    return this.#enqueue(work, { kind: 'issuance' });
  }

  /**
   * Reads run at once, between transactions. Resolves when the rows that were read are durable.
   * Rejects with the reason of `signal` if that is aborted earlier.
   */
  async read<T>(work: () => T, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const pending = this.#pending;
    const value = await this.look(work);
    if (pending !== undefined) await (signal === undefined ? pending : orAborted(pending, signal));
    return value;
  }

  /**
   * A read that does not wait until its rows are durable. For values that nobody is told of before
   * a later write: once that write is durable, everything before it is durable too.
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

  /**
   * Inside `read` or `look`: a result that readers share, of rows that issuance does not change
   * (WriteKind). Inside a write it is read each time. Nobody may change it.
   */
  once<T>(key: string, read: () => T): T {
    return this.#connection.once(key, read);
  }

  /** Why nothing is read or written any more; undefined while the engine works. */
  get failure(): PkiError | undefined {
    return this.#broken;
  }

  /** The time since which no commit succeeded; undefined: the last commit succeeded. */
  get failing(): FailingCommits | undefined {
    return this.#health.failing;
  }

  /** Pending while the last commit is being made durable. Rejects if that fails. */
  get pending(): Promise<void> | undefined {
    return this.#pending;
  }

  /** Called last for each durable commit. */
  onCommit(listener: (commit: CommitFacts) => void): () => void {
    this.#commitListeners.add(listener);
    return () => void this.#commitListeners.delete(listener);
  }

  /** Waits for the accepted writes, runs `last` with them, and closes the connection. */
  async close(last: () => void): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#health.close();
    try {
      if (this.#broken === undefined) await this.#enqueue(last, { kind: 'other' });
    } finally {
      this.#connection.close();
    }
  }

  /** Writes one page of the database without a change. */
  #probe(): Promise<void> {
    return this.write(() => {
      const row = this.get('PRAGMA user_version', []) as { readonly user_version: number };
      this.#connection.command(`PRAGMA user_version = ${row.user_version}`);
    });
  }

  #enqueue<T>(
    work: () => T,
    { kind, signal }: { readonly kind: WriteKind; readonly signal?: AbortSignal | undefined },
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({
        work,
        kind,
        signal,
        resolve: resolve as (value: unknown) => void,
        reject,
      });
      this.#schedule();
    });
  }

  #schedule(): void {
    // writes that wait while a commit is made durable form the next group
    if (this.#scheduled || this.#pending !== undefined) return;
    this.#scheduled = true;
    // Not a microtask, so that all requests that this turn reads from its sockets can join.
    atTurnEnd('write', () => {
      this.#scheduled = false;
      const jobs = this.#takeQueue();
      if (jobs.length === 0) return;
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

  /** All that wait, but for those whose callers have gone. */
  #takeQueue(): readonly Job[] {
    const waiting = this.#queue;
    this.#queue = [];
    return waiting.filter(({ signal, reject }) => {
      if (signal?.aborted === true) reject(PkiError.from(signal.reason));
      return signal?.aborted !== true;
    });
  }

  #finish(committed: readonly Committed[], startedMs: number): void {
    let durable: Promise<void> | undefined;
    try {
      durable = this.#makeDurable?.();
    } catch (thrown) {
      this.#break(committed, thrown);
      return;
    }
    if (durable === undefined) {
      this.#tell(committed, startedMs);
      return;
    }
    this.#pending = durable.then(
      () => {
        this.#pending = undefined;
        this.#tell(committed, startedMs);
        if (this.#queue.length > 0) this.#schedule();
      },
      (thrown: unknown) => {
        this.#pending = undefined;
        throw this.#break(committed, thrown);
      },
    );
    // readers meanwhile get the error; without readers nobody handles the rejection
    this.#pending.catch(() => {});
  }

  /** Whether the commit is on the disk is unknown. */
  #break(committed: readonly Committed[], thrown: unknown): PkiError {
    const error = notDurableError(thrown);
    this.#broken = error;
    this.#logger.error({ ...errorFields(error) }, 'the server stops to use the database');
    for (const { job } of committed) job.reject(error);
    if (this.#queue.length > 0) this.#schedule();
    return error;
  }

  #tell(committed: readonly Committed[], startedMs: number): void {
    this.#health.succeeded();
    this.#onDurable?.();
    callEach(this.hooks.afterDurable, this.#logger);
    for (const { settle } of committed) settle();
    const facts = {
      writes: committed.length,
      seconds: (this.#clock.monotonicMs() - startedMs) / 1000,
    };
    for (const listener of this.#commitListeners) listener(facts);
  }

  /** Runs each write in its own transaction. */
  #alone(jobs: readonly Job[], committed: Committed[]): number {
    for (const job of jobs) {
      let value: unknown;
      try {
        this.#connection.begin();
        this.#beforeJob(job, true);
        value = job.work();
        this.#commit();
      } catch (error) {
        this.#rollback();
        this.#health.failed(error);
        job.reject(storeError(error));
        continue;
      }
      callEach(this.hooks.afterCommit, this.#logger);
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
        this.#beforeJob(job, taken === 1);
        outcomes.push({ job, settle: this.#savepoint(job) });
      }
      this.#commit();
    } catch (error) {
      this.#rollback();
      // No write was taken: the transaction could not begin, and would not begin for the waiting
      // ones either.
      const mine = taken === 0 ? jobs : jobs.slice(0, taken);
      // A full disk refuses the group, but may have room for smaller writes of it.
      if (isDiskFull(error) || isDiskFull((error as Error | undefined)?.cause))
        return this.#alone(mine, committed);
      this.#health.failed(error);
      const failure = storeError(error);
      for (const job of mine) job.reject(failure);
      return mine.length;
    }
    callEach(this.hooks.afterCommit, this.#logger);
    committed.push(...outcomes);
    return taken;
  }

  #beforeJob({ kind }: Job, first: boolean): void {
    if (kind === 'other') this.#connection.forgetShared();
    for (const callback of this.hooks.beforeJob) callback(first, kind);
  }

  #savepoint(job: Job): () => void {
    this.#connection.command('SAVEPOINT job');
    try {
      const value = job.work();
      this.#connection.command('RELEASE job');
      return () => job.resolve(value);
    } catch (error) {
      // Some failures (disk full, I/O) end the whole transaction. They concern all its writes.
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
}

const closedError = (): PkiError => new PkiError('SHUTTING_DOWN', 'the store is closed');
