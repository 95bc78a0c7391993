/** What else is done with each write and each commit of the engine. */
export abstract class CommitHooks {
  protected readonly hooks = {
    beforeJob: [] as ((first: boolean) => void)[],
    beforeCommit: [] as (() => void)[],
    afterCommit: [] as (() => void)[],
    afterDurable: [] as (() => void)[],
    onRollback: [] as (() => void)[],
  };

  /** Called before each write, `first` in its transaction or not. */
  beforeJob(callback: (first: boolean) => void): void {
    this.hooks.beforeJob.push(callback);
  }

  /**
   * Called inside each transaction after its last write. May write; what it throws fails the whole
   * group.
   */
  beforeCommit(callback: () => void): void {
    this.hooks.beforeCommit.push(callback);
  }

  /**
   * Called right after each commit, before anything else is read: for memory that must agree with
   * the rows.
   */
  afterCommit(callback: () => void): void {
    this.hooks.afterCommit.push(callback);
  }

  /**
   * Called when a commit is durable, before the callers of its writes go on: for telling others.
   */
  afterDurable(callback: () => void): void {
    this.hooks.afterDurable.push(callback);
  }

  /** Called when anything was rolled back, be it one write of a group. Must not throw. */
  onRollback(callback: () => void): void {
    this.hooks.onRollback.push(callback);
  }
}
