import type { SealBounds } from '../../domain/index.ts';
import type { Lease } from './leases.ts';

/** The tree over the audit records. */
export interface LogStore {
  /** The number of leaves in the tree, and the highest sequence that was considered for it. */
  head(): Promise<{ readonly size: number; readonly sequence: number }>;
  /**
   * The records after that sequence, in order, each with its index in the tree if it has one. Does
   * not wait until they are durable: only for the memory of this process.
   */
  records(after: number, limit: number): Promise<readonly LogRow[]>;
  /** The sequence of the record at that index of the tree. */
  sequenceAt(index: number): Promise<number | undefined>;
  /** Newest first. Nobody has verified them. */
  snapshots(): Promise<readonly LogSnapshot[]>;
  snapshotPart(size: number, position: number): Promise<Buffer | undefined>;
  putSnapshotPart(size: number, position: number, content: Buffer): Promise<void>;
  /** Called after the parts were stored. This snapshot and the previous one are kept. */
  putSnapshot(snapshot: LogSnapshot): Promise<void>;
  dropSnapshots(): Promise<void>;
  /** Removes some of the parts that belong to no snapshot. Returns whether there are more. */
  sweepSnapshotParts(): Promise<boolean>;
  /**
   * The first leaf whose record is missing or no longer has the hash in the tree. Slow: for use
   * after damage was noticed.
   */
  firstWrong(): Promise<
    { readonly index: number; readonly sequence: number | undefined } | undefined
  >;
  tile(level: number, index: number): Promise<Buffer | undefined>;
  tiles(
    after: { readonly level: number; readonly index: number } | undefined,
    limit: number,
  ): Promise<readonly LogTile[]>;
  /** From now on each commit with records carries a seal. */
  beginSession(session: LogSession, seal: (bytes: Buffer) => Buffer): Promise<void>;
  sessions(): Promise<readonly LogSession[]>;
  /** Records that are not in the tree yet, in order, with the seals over them. */
  unsequenced(limit: number): Promise<UnsequencedRecords>;
  /**
   * Extends the tree by these records and stores its new checkpoint, in one transaction under the
   * lease's fence.
   */
  extend(step: LogStep, lease: Lease): Promise<void>;
  latestCheckpoint(): Promise<StoredCheckpoint | undefined>;
  /**
   * Adds signature lines of witnesses to the note of the checkpoint with this text. A line of a key
   * that had signed it before replaces the earlier line. Does nothing if there is no such
   * checkpoint.
   */
  addCosignatures(size: number, note: string): Promise<void>;
  checkpoints(afterSize: number, limit: number): Promise<readonly StoredCheckpoint[]>;
  /** The indexes of records in the tree; undefined for records outside. */
  indexesOf(sequences: readonly number[]): Promise<readonly (number | undefined)[]>;
  excluded(
    afterSequence: number,
    limit: number,
  ): Promise<readonly { readonly sequence: number; readonly reason: string }[]>;
}

export interface LogStep {
  readonly fromSize: number;
  readonly taken: readonly number[];
  readonly excluded: readonly { readonly sequence: number; readonly reason: string }[];
  /** The highest sequence that was considered. */
  readonly sequence: number;
  readonly tiles: readonly LogTile[];
  readonly checkpoint: StoredCheckpoint;
}

/** A record as it is in the database. */
export interface LogRow {
  readonly sequence: number;
  readonly canonical: Buffer;
  /**
   * Its index by the table of runs. Others can write that table: only the root of the tree proves
   * the index.
   */
  readonly index: number | undefined;
}

export interface UnsequencedRecords {
  /**
   * True if no session has begun in this database, or there is no checkpoint yet. Then there is
   * nothing to protect.
   */
  readonly open: boolean;
  readonly records: readonly {
    readonly sequence: number;
    readonly canonical: Buffer;
    /** The seal that covers the record, if any. Nobody has verified it. */
    readonly seal: LogSeal | undefined;
  }[];
}

/** A signature over the records of one commit, by a key of one process. */
export interface LogSeal extends SealBounds {
  readonly signature: Buffer;
}

export interface LogSession {
  readonly id: string;
  /** Ed25519. */
  readonly spkiDer: Buffer;
  /** Signature of the log's key over the session's statement. */
  readonly signature: Buffer;
  /** The authority whose key signed. */
  readonly signer: string;
  readonly startedAtMs: number;
}

export interface StoredCheckpoint {
  readonly size: number;
  readonly root: Buffer;
  /** A signed note. */
  readonly note: string;
  readonly timeMs: number;
}

export interface LogTile {
  readonly level: number;
  readonly index: number;
  readonly hashes: Buffer;
}

/**
 * What the log says of all objects after its first `size` records. It counts only with a valid
 * signature of the log's key, and only if the tree has this root at this size.
 */
export interface LogSnapshot {
  /** The number of leaves of the tree that it covers. */
  readonly size: number;
  readonly root: Buffer;
  /** The sequence of the last record that it covers. */
  readonly sequence: number;
  readonly parts: number;
  /** SHA-256 over the SHA-256 values of the parts. */
  readonly digest: Buffer;
  readonly signature: Buffer;
  readonly timeMs: number;
}
