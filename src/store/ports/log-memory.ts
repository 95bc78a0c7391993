import type {
  AuditStatement,
  AuthorityKind,
  BlockedKey,
  LoggedValues,
  LogObjectKind,
  ObjectMismatch,
  Revocation,
} from '../../domain/index.ts';
import type { LogStore } from './log.ts';

/**
 * What the log says, for writes that continue from a row. The engine reads the row in the
 * transaction of the write, under the lock of that row, and asks before it writes. Otherwise a
 * record of the new state would confirm what somebody else had put into the old one. Answers come
 * from memory at once and read nothing, so that no lock waits for them.
 */
export interface LogGuard {
  /**
   * `row`: the present row; undefined if there is none. Returns what the newest record vouches
   * for; a record of an older release may know fewer fields. The write continues from the returned
   * value, never from the row.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG
   */
  readonly requireRow: <Kind extends LogObjectKind, Found extends LoggedValues[Kind] | undefined>(
    kind: Kind,
    id: string,
    row: Found,
  ) => Found;
  /**
   * Whether the row equals the record. A difference is announced. A row that is frozen must be frozen
   * in all its parts: it is compared once, as long as the log has no newer record.
   */
  readonly sameRow: <Kind extends LogObjectKind>(
    kind: Kind,
    id: string,
    found: LoggedValues[Kind] | undefined,
  ) => boolean;
  /** Announces an altered row that a reader noticed and `sameRow` can not detect. */
  readonly announce: (mismatch: ObjectMismatch) => void;
  /** The authorities that have not ended and the rotations under way, by the log. */
  readonly living: () => readonly {
    readonly object: 'authority' | 'rotation';
    readonly id: string;
    readonly kind: AuthorityKind;
  }[];
  /** The recorded revocation of this serial, whatever its row says. */
  readonly revocation: (serial: string) => Revocation | undefined;
  /** The recorded block of the key with this SHA-256, whatever its row says. */
  readonly blockedKey: (publicKeySha256: string) => BlockedKey | undefined;
  /** The highest recorded number of the CRL with this ID (`crlId`); 0 without any. */
  readonly crlNumber: (id: string) => number;
  /** The taken places of this counter of a quota: when each is free again, Unix seconds. */
  readonly placeEnds: (counter: string) => readonly number[];
}

/** A record that this process wrote. */
export interface CommittedRecord {
  readonly sequence: number;
  /** The bytes that were written. */
  readonly canonical: Buffer;
  readonly leafHash: Buffer;
  readonly statement: AuditStatement;
}

/**
 * The memory of the log, from the view of an engine, which feeds and asks it. The ledger decides
 * what it holds and what counts.
 */
export interface LogMemory {
  readonly guard: LogGuard;
  /**
   * Called once when the database is open, before any request is served. Fills the memory from the
   * records in the tree.
   */
  begin(log: LogStore): Promise<void>;
  /**
   * Called with the records of each commit of this process, in the order of their sequences, right
   * after the commit and before any other read. Must not throw.
   */
  committed(records: readonly CommittedRecord[]): void;
}
