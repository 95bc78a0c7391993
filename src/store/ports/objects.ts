import type { LogObjectKind } from '../../domain/index.ts';

/**
 * Whether what a read gave is what the log commits to: the newest record about the object holds the
 * digest of exactly this row.
 */
export interface ObjectLedger {
  /** @throws OBJECT_NOT_IN_LOG */
  require(object: object): void;
  proven(object: object): boolean;
  /**
   * How many objects of a kind the log says there are now: with each row proven, as many rows means
   * that none was taken away.
   */
  expectedCount(kind: LogObjectKind): number;
  /** Called at each look at an object that is not proven. */
  onMismatch(listener: (mismatch: ObjectMismatch) => void): () => void;
}

export interface ObjectMismatch {
  /**
   * `consumer`: what this process was told over a session; `activation-evidence`: what the record
   * of an activation commits to.
   */
  readonly kind: LogObjectKind | 'consumer' | 'activation-evidence';
  readonly id: string;
  /** No record at all, a record of its deletion, or a record of another state. */
  readonly found: 'absent' | 'deleted' | 'differs';
}
