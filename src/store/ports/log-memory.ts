import type {
  AuditStatement,
  LoggedValues,
  LogObjectKind,
  ObjectMismatch,
  Revocation,
} from '../../domain/index.ts';
import type { LogStore } from './log.ts';

/**
 * What the log says, for writes that go on from what stands in a row. An engine reads the row in
 * the transaction of the write, under the lock of that row, and asks before it writes: else a
 * record of the new state would make good what somebody else had put into the old one. The answers
 * come from memory, read nothing, and are given at once, so that no lock waits for them.
 */
export interface LogGuard {
  /**
   * `found`: the row as it stands, undefined where there is none. Returns what the newest record
   * vouches for: a record of an older release may know fewer fields. The write goes on from that,
   * never from the row.
   * @throws OBJECT_NOT_IN_LOG
   */
  readonly requireRow: <Kind extends LogObjectKind, Found extends LoggedValues[Kind] | undefined>(
    kind: Kind,
    id: string,
    found: Found,
  ) => Found;
  /** The same as an answer; announced when it is not the same. */
  readonly sameRow: <Kind extends LogObjectKind>(
    kind: Kind,
    id: string,
    found: LoggedValues[Kind] | undefined,
  ) => boolean;
  /** Says that a look at a row found it altered, where `sameRow` can not tell. */
  readonly announce: (mismatch: ObjectMismatch) => void;
  /** The revocation of this serial that is on record, whatever became of its row. */
  readonly revocation: (serial: string) => Revocation | undefined;
  /** The highest number of a CRL of this authority that is on record, 0 without any. */
  readonly crlNumber: (authorityId: string) => number;
}

/** A record as this process wrote it. */
export interface CommittedRecord {
  readonly sequence: number;
  readonly leafHash: Buffer;
  readonly statement: AuditStatement;
}

/**
 * The memory of the log, as an engine sees it: the engine feeds it and asks it. What it holds, and
 * what counts, is the ledger's.
 */
export interface LogMemory {
  readonly guard: LogGuard;
  /**
   * Called once when the database is open, before anybody is served: fills the memory from the
   * records that stand in the tree.
   */
  begin(log: LogStore): Promise<void>;
  /**
   * Called with the records of each commit of this process, in the order of their sequences, right
   * after the commit and before anything else is read. Must not throw.
   */
  committed(records: readonly CommittedRecord[]): void;
}
