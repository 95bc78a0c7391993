import { errorFields, type Logger } from '../../common/runtime/index.ts';

/**
 * `issuance`: the write begins or ends certificates, and changes no row on which a right rests.
 */
export type WriteKind = 'issuance' | 'other';

/** Callbacks for each write and each commit of the engine. */
export abstract class CommitHooks {
  protected readonly hooks = {
    beforeJob: [] as ((first: boolean, kind: WriteKind) => void)[],
    beforeCommit: [] as (() => void)[],
    afterCommit: [] as (() => void)[],
    afterDurable: [] as (() => void)[],
    onRollback: [] as (() => void)[],
  };

  /** Called before each write. `first`: it is the first in its transaction. */
  beforeJob(callback: (first: boolean, kind: WriteKind) => void): void {
    this.hooks.beforeJob.push(callback);
  }

  /**
   * Called inside each transaction after its last write. May write. If it throws, the whole group
   * fails.
   */
  beforeCommit(callback: () => void): void {
    this.hooks.beforeCommit.push(callback);
  }

  /**
   * Called right after each commit, before any other read: for memory that must agree with the
   * rows.
   */
  afterCommit(callback: () => void): void {
    this.hooks.afterCommit.push(callback);
  }

  /** Called when a commit is durable, before its callers continue: for notifications. */
  afterDurable(callback: () => void): void {
    this.hooks.afterDurable.push(callback);
  }

  /** Called after every rollback, also that of a single write of a group. Must not throw. */
  onRollback(callback: () => void): void {
    this.hooks.onRollback.push(callback);
  }
}

/** A listener that throws does not affect the others. */
export function callEach(listeners: readonly (() => void)[], logger: Logger): void {
  for (const listener of listeners) {
    try {
      listener();
    } catch (error) {
      logger.error({ ...errorFields(error) }, 'a listener on commits failed');
    }
  }
}
