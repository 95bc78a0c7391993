import type { Lease } from './leases.ts';

/** The tree over the audit records. */
export interface LogStore {
  /** Leaves in the tree, and the highest sequence that was looked at for it. */
  head(): Promise<{ readonly size: number; readonly sequence: number }>;
  /**
   * Records behind that sequence, in their order, each with its place in the tree if it has one.
   * Does not wait until what it saw is durable: for the memory of this process alone.
   */
  records(after: number, limit: number): Promise<readonly LogRow[]>;
  /** The sequence of the record at that place of the tree. */
  sequenceAt(index: number): Promise<number | undefined>;
  /** The newest first. Nothing here says that they are good. */
  snapshots(): Promise<readonly LogSnapshot[]>;
  snapshotPart(size: number, position: number): Promise<Buffer | undefined>;
  putSnapshotPart(size: number, position: number, content: Buffer): Promise<void>;
  /** After its parts. It and the one before it are kept. */
  putSnapshot(snapshot: LogSnapshot): Promise<void>;
  dropSnapshots(): Promise<void>;
  /** Removes some of the parts that belong to no snapshot; whether there are more. */
  sweepSnapshotParts(): Promise<boolean>;
  /**
   * The first leaf whose record is gone or no longer hashes to what the tree has; slow, for when
   * something is wrong.
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
  /** Records that are not in the tree yet, in their order, with the seals over them. */
  unsequenced(limit: number): Promise<UnsequencedRecords>;
  /**
   * Grows the tree by these records and stores its new checkpoint, in one transaction under the
   * lease's fence.
   */
  extend(step: LogStep, lease: Lease): Promise<void>;
  latestCheckpoint(): Promise<StoredCheckpoint | undefined>;
  /**
   * Adds signature lines of witnesses to the note of the checkpoint with this text; a line of a key
   * that signed it already takes its place. No-op where there is no such checkpoint.
   */
  addCosignatures(size: number, note: string): Promise<void>;
  checkpoints(afterSize: number, limit: number): Promise<readonly StoredCheckpoint[]>;
  /** The place of records in the tree, undefined for those outside. */
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
  /** The highest sequence looked at. */
  readonly sequence: number;
  readonly tiles: readonly LogTile[];
  readonly checkpoint: StoredCheckpoint;
}

/** A record as it stands in the database. */
export interface LogRow {
  readonly sequence: number;
  readonly canonical: Buffer;
  /** Its place by the table of runs, which others can write: the root of the tree shows the truth. */
  readonly index: number | undefined;
}

export interface UnsequencedRecords {
  /** No session ever began here, or there is no checkpoint yet: there is nothing to defend. */
  readonly open: boolean;
  readonly records: readonly {
    readonly sequence: number;
    readonly canonical: Buffer;
    /** The one that covers it, if there is any. Nobody has checked it. */
    readonly seal: LogSeal | undefined;
  }[];
}

/** Signature over the records of one commit, by a key that lived in one process. */
export interface LogSeal {
  readonly sessionId: string;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly signature: Buffer;
}

export interface LogSession {
  readonly id: string;
  /** Ed25519. */
  readonly spkiDer: Buffer;
  /** Of the log's key over the session's statement. */
  readonly signature: Buffer;
  /** The authority whose key signed. */
  readonly signer: string;
  readonly startedAtMs: number;
}

export interface StoredCheckpoint {
  readonly size: number;
  readonly root: Buffer;
  /** Signed note. */
  readonly note: string;
  readonly timeMs: number;
}

export interface LogTile {
  readonly level: number;
  readonly index: number;
  readonly hashes: Buffer;
}

/**
 * What the log says of all objects after its first `size` records. It counts under a good signature
 * of the log's key, and only where the tree has this root at this size.
 */
export interface LogSnapshot {
  /** Leaves of the tree that it covers. */
  readonly size: number;
  readonly root: Buffer;
  /** Of the last record that it covers. */
  readonly sequence: number;
  readonly parts: number;
  /** SHA-256 over the SHA-256 of each part. */
  readonly digest: Buffer;
  readonly signature: Buffer;
  readonly timeMs: number;
}
