import type { Lease } from './leases.ts';

/** The tree over the audit records. */
export interface LogStore {
  /** Leaves in the tree, and the highest sequence that was looked at for it. */
  head(): Promise<{ readonly size: number; readonly sequence: number }>;
  /**
   * The snapshot on which the memory rests, with the records behind it; undefined: it rests on the
   * records alone. Its signature was not looked at: that is for whoever has the key, before
   * anything rests on it.
   */
  basis(): Promise<LogSnapshot | undefined>;
  /**
   * The basis is not good: the memory rests on an older one instead, or on all records. For a
   * start, before anybody else is served.
   */
  withoutBasis(why: string): Promise<void>;
  /** undefined where the memory rests on the records alone. */
  review(): LogReview | undefined;
  /**
   * What a snapshot is made of. undefined: this process knows something else than the log says,
   * since somebody touched records before they were in the tree.
   */
  copyLedger(): Promise<LedgerCopy | undefined>;
  putSnapshotPart(size: number, position: number, content: Buffer): Promise<void>;
  /** After its parts. It and the one before it are kept. */
  putSnapshot(snapshot: LogSnapshot): Promise<void>;
  dropSnapshots(): Promise<void>;
  /** Removes some of the parts that belong to no snapshot; whether there are more. */
  sweepSnapshotParts(): Promise<boolean>;
  /**
   * What was computed from the basis and the records behind it when the store opened, over the
   * leaves that were in the tree then.
   */
  recomputed(): Promise<{ readonly size: number; readonly root: Buffer }>;
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
  /** Records after the head, in their order, with what vouches for them. */
  pending(limit: number): Promise<readonly PendingRecord[]>;
  /**
   * Grows the tree by these records and stores its new checkpoint, in one transaction under the
   * lease's fence.
   */
  extend(step: LogStep, lease: Lease): Promise<void>;
  /**
   * Records that are not in the tree, and were found good, count for their objects from here on.
   */
  vouch(sequences: readonly number[]): Promise<void>;
  latestCheckpoint(): Promise<StoredCheckpoint | undefined>;
  /**
   * Adds signature lines of witnesses to the note of the checkpoint with this text; a line of a key
   * that signed it already takes its place. No-op where there is no such checkpoint.
   */
  addCosignatures(size: number, note: string): Promise<void>;
  checkpoints(afterSize: number, limit: number): Promise<readonly StoredCheckpoint[]>;
  /** The hash of a record that this process wrote and that is not in the tree yet. */
  pendingHash(sequence: number): Buffer | undefined;
  /** The place of records in the tree, undefined for those outside. */
  indexesOf(sequences: readonly number[]): Promise<readonly (number | undefined)[]>;
  excluded(
    afterSequence: number,
    limit: number,
  ): Promise<readonly { readonly sequence: number; readonly reason: string }[]>;
  /** Called after each commit with records, before their writers go on. */
  onRecords(listener: () => void): () => void;
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

/** An audit record that is not in the tree yet. */
export interface PendingRecord {
  readonly sequence: number;
  /** Computed from the canonical bytes as they are stored; of what was written, if it is `gone`. */
  readonly leafHash: Buffer;
  /**
   * `own`: written by this process and unchanged since; `sealed`: covered by this seal; `open`:
   * from before the first session; `gone`: written by this process and no longer there; `foreign`:
   * none of these.
   */
  readonly origin:
    | { readonly kind: 'own' | 'open' | 'foreign' | 'gone' }
    | { readonly kind: 'sealed'; readonly seal: LogSeal };
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

/** The memory of the log at one instant. */
export interface LedgerCopy {
  /**
   * The last record of this process that it holds and that is not in the tree yet; undefined: it
   * holds what is in the tree, and no more.
   */
  readonly pending: number | undefined;
  readonly objects: number;
  /**
   * Whether nothing has come to light since that makes it worthless: a record that it holds and
   * that did not get into the tree.
   */
  readonly good: () => boolean;
  /** Made as they are asked for; the same memory gives the same bytes. */
  readonly parts: () => Iterable<Buffer>;
}

/** Reads again the records under the snapshot on which the memory of this process rests. */
export interface LogReview {
  readonly of: number;
  readonly checked: number;
  /**
   * Looks at so many further records. `whole`: all of them are under the snapshot's root, and say
   * what it says. Does not block for longer than those records take. @throws AUDIT_INVALID with the
   * `sequence` of the record, where it is known
   */
  step(records: number): Promise<'more' | 'whole'>;
}
