import type { Clock, Logger } from '../common/runtime/index.ts';
import { leafHash } from '../domain/index.ts';
import type {
  CommittedRecord,
  Lease,
  LogSeal,
  LogSnapshot,
  LogStep,
  LogStore,
} from '../store/ports/index.ts';
import type { RecordedLeaf } from './issued-record.ts';
import { LogLoad } from './load.ts';
import { apply, lessonFrom, lessonOf, type Lesson, type Memory } from './memory.ts';
import { recordsUnder, type LoggedRecord, type RecordRange } from './records-under.ts';
import type { LogReview } from './review.ts';
import { leafParts, objectParts, placeParts, shardParts } from './snapshot-parts.ts';

/** An audit record that is not in the tree yet. */
export interface PendingRecord {
  readonly sequence: number;
  /**
   * Computed from the stored canonical bytes; for a `gone` record, from the bytes that were
   * written.
   */
  readonly leafHash: Buffer;
  /**
   * `own`: written by this process and unchanged since. `sealed`: covered by this seal. `open`:
   * from before the first session. `gone`: written by this process and missing now. `foreign`: none
   * of these.
   */
  readonly origin:
    | { readonly kind: 'own' | 'open' | 'foreign' | 'gone' }
    | { readonly kind: 'sealed'; readonly seal: LogSeal };
}

/** A copy of the memory of the log at one instant. */
export interface LedgerCopy {
  /**
   * The sequence of the last record of this process in the copy that is not in the tree yet.
   * Undefined: every record in the copy is in the tree.
   */
  readonly pending: number | undefined;
  readonly objects: number;
  /** Whether the copy is still valid. It is not if one of its records did not get into the tree. */
  readonly good: () => boolean;
  /** Made when they are read. The same memory gives the same bytes. */
  readonly parts: () => Iterable<Buffer>;
}

/** The log of this process: the tree and its records in the database, and the memory of them. */
export interface LedgerLog
  extends Omit<LogStore, 'records' | 'unsequenced' | 'snapshots' | 'snapshotPart' | 'sequenceAt'> {
  /**
   * The snapshot on which the memory rests, together with the records behind it. Undefined: the
   * memory rests on the records alone. Its signature is not verified here: the owner of the key
   * verifies it before anything rests on it.
   */
  basis(): LogSnapshot | undefined;
  /**
   * Rejects the basis. The memory is then loaded from an older snapshot, or from all records.
   * Called at a start, before any request is served.
   */
  withoutBasis(why: string): Promise<void>;
  /** Undefined if the memory rests on the records alone. */
  review(): LogReview | undefined;
  /**
   * The content for a snapshot. Undefined: this memory differs from the log, because somebody
   * changed records before they were in the tree.
   */
  copyLedger(): LedgerCopy | undefined;
  /**
   * The tree that was computed from the basis and the records behind it when the store opened, over
   * the leaves of that time.
   */
  recomputed(): { readonly size: number; readonly root: Buffer };
  /** The records after the head, in order, with what vouches for them. */
  pending(limit: number): Promise<readonly PendingRecord[]>;
  /** Counts verified records that are not in the tree, for their objects, from here on. */
  vouch(sequences: readonly number[]): void;
  /** The hash of a record of this process that is not in the tree yet. */
  pendingHash(sequence: number): Buffer | undefined;
  /** See `recordsUnder`. */
  recordsUnder(range: RecordRange): AsyncGenerator<readonly LoggedRecord[]>;
  /** Called after each commit with records, before its writers continue. */
  onRecords(listener: () => void): () => void;
  /** Called with each leaf that this process has issued, after the commit of its record. */
  onIssued(listener: (leaf: IssuedLeafRecord) => void): () => void;
}

/** A leaf as the record of its issuance states it. */
export interface IssuedLeafRecord {
  readonly serial: string;
  readonly authorityId: string;
  readonly notAfter: number;
  /** Empty if the record states none. */
  readonly profile: string;
}

interface Heard {
  readonly hash: Buffer;
  readonly lesson: Lesson;
}

/** With the bytes that were written: to compare a stored record with them is cheaper than to hash it. */
interface Written extends Heard {
  readonly canonical: Buffer;
}

export interface LogBookSource {
  readonly memory: Memory;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Whether the memory follows the log. Otherwise no snapshot of it is made. */
  readonly complete: boolean;
}

/**
 * Feeds the memory. Records of this process count from their commit on; records of others once they
 * are in the tree. Owner of the records that are not in the tree yet, and of the fact whether the
 * memory equals the records.
 */
export class LogBook {
  readonly #source: LogBookSource;
  /** The records of this process that are not in the tree yet. */
  #own = new Map<number, Written>();
  /**
   * The records of other processes as they were judged. Somebody may exchange them before they
   * count.
   */
  #judged = new Map<number, Heard>();
  readonly #listeners = new Set<() => void>();
  readonly #issuedListeners = new Set<(leaf: IssuedLeafRecord) => void>();
  #log: LogStore | undefined;
  #loading: LogLoad | undefined;
  #exact: boolean;

  constructor(source: LogBookSource) {
    this.#source = source;
    this.#exact = source.complete;
  }

  /** See LogMemory. */
  async begin(log: LogStore): Promise<void> {
    this.#log = log;
    this.#loading = new LogLoad({
      ...this.#source,
      log,
      own: () => [...this.#own].map(([sequence, { lesson }]) => [sequence, lesson] as const),
    });
    await this.#loading.load();
  }

  /** See LogMemory. */
  committed(records: readonly CommittedRecord[]): void {
    for (const { sequence, canonical, leafHash: hash, statement } of records) {
      const lesson = lessonOf(statement);
      this.#own.set(sequence, { canonical, hash, lesson });
      apply(this.#source.memory, lesson, sequence);
      if (lesson.issued?.of === 'leaf')
        this.#tellIssued(lesson.issued, statement.detail['profile']);
    }
    for (const listener of this.#listeners) listener();
  }

  #tellIssued({ serial, authorityId, notAfter }: RecordedLeaf, profile: unknown): void {
    const leaf = { serial, authorityId, notAfter };
    for (const listener of this.#issuedListeners)
      listener({ ...leaf, profile: typeof profile === 'string' ? profile : '' });
  }

  /** The log as other parts see it. */
  view(): LedgerLog {
    const { log, loading } = this.#begun();
    return {
      head: () => log.head(),
      putSnapshotPart: (size, position, content) => log.putSnapshotPart(size, position, content),
      putSnapshot: (snapshot) => log.putSnapshot(snapshot),
      dropSnapshots: () => log.dropSnapshots(),
      sweepSnapshotParts: () => log.sweepSnapshotParts(),
      firstWrong: () => log.firstWrong(),
      tile: (level, index) => log.tile(level, index),
      tiles: (after, limit) => log.tiles(after, limit),
      beginSession: (session, seal) => log.beginSession(session, seal),
      sessions: () => log.sessions(),
      latestCheckpoint: () => log.latestCheckpoint(),
      addCosignatures: (size, note) => log.addCosignatures(size, note),
      checkpoints: (afterSize, limit) => log.checkpoints(afterSize, limit),
      indexesOf: (sequences) => log.indexesOf(sequences),
      excluded: (afterSequence, limit) => log.excluded(afterSequence, limit),
      basis: () => loading.basis,
      withoutBasis: (why) => loading.withoutBasis(why),
      review: () => loading.review(),
      recomputed: () => ({ size: loading.computed.size, root: loading.computed.root() }),
      copyLedger: () => this.#copy(),
      pending: (limit) => this.#pending(limit),
      extend: (step, lease) => this.#extend(step, lease),
      vouch: (sequences) => this.#vouch(sequences),
      pendingHash: (sequence) => this.#own.get(sequence)?.hash,
      recordsUnder: (range) => recordsUnder(log, range),
      onRecords: (listener) => {
        this.#listeners.add(listener);
        return () => void this.#listeners.delete(listener);
      },
      onIssued: (listener) => {
        this.#issuedListeners.add(listener);
        return () => void this.#issuedListeners.delete(listener);
      },
    };
  }

  #begun(): { readonly log: LogStore; readonly loading: LogLoad } {
    if (this.#log === undefined || this.#loading === undefined)
      throw new TypeError('the memory of the log is used before its store is open');
    return { log: this.#log, loading: this.#loading };
  }

  async #pending(limit: number): Promise<readonly PendingRecord[]> {
    const { log } = this.#begun();
    // records that are committed during the read are not missing
    const before = [...this.#own];
    const { open, records } = await log.unsequenced(limit);
    const present = records.map(({ sequence, canonical, seal }): PendingRecord => {
      const mine = this.#own.get(sequence);
      const hash = mine?.canonical.equals(canonical) === true ? mine.hash : leafHash(canonical);
      if (mine === undefined)
        this.#judged.set(sequence, {
          hash,
          lesson: lessonFrom(canonical, this.#source.memory.issued.keptFrom),
        });
      return { sequence, leafHash: hash, origin: originOf({ hash, mine, seal, open }) };
    });
    const foundSequences = new Set(records.map(({ sequence }) => sequence));
    const until = records.length < limit ? Infinity : (records.at(-1)?.sequence ?? 0);
    const gone = before
      .filter(
        ([sequence]) =>
          sequence <= until && !foundSequences.has(sequence) && this.#own.has(sequence),
      )
      .map(
        ([sequence, { hash }]): PendingRecord => ({
          sequence,
          leafHash: hash,
          origin: { kind: 'gone' },
        }),
      );
    return gone.length === 0
      ? present
      : [...present, ...gone].sort((one, other) => one.sequence - other.sequence);
  }

  async #extend(step: LogStep, lease: Lease): Promise<void> {
    const { log, loading } = this.#begun();
    await log.extend(step, lease);
    this.#take(step.taken);
    if (
      step.excluded.some(
        ({ sequence }) => this.#own.has(sequence) || sequence <= loading.openThrough,
      )
    )
      this.#exact = false;
    this.#own = after(step.sequence, this.#own);
    this.#judged = after(step.sequence, this.#judged);
  }

  #vouch(sequences: readonly number[]): void {
    // the records count before they are in the tree, and may never get there
    if (sequences.length > 0) this.#exact = false;
    this.#take(sequences);
  }

  /**
   * Counts records of other processes as they were judged. Records of this process have counted
   * since their commit.
   */
  #take(sequences: readonly number[]): void {
    for (const sequence of sequences) {
      if (this.#own.has(sequence)) continue;
      const judged = this.#judged.get(sequence);
      if (judged === undefined) this.#exact = false;
      else apply(this.#source.memory, judged.lesson, sequence);
    }
  }

  #copy(): LedgerCopy | undefined {
    if (!this.#exact) return undefined;
    const { memory } = this.#source;
    const [objects, leaves] = [memory.objects.copy(), memory.issued.copy()];
    const [places, shards] = [memory.quotas.copy(), memory.shards.copy()];
    let pending: number | undefined;
    for (const sequence of this.#own.keys()) pending = Math.max(pending ?? 0, sequence);
    function* parts(): Generator<Buffer> {
      yield* objectParts(objects);
      yield* leafParts(leaves);
      yield* placeParts(places);
      yield* shardParts(shards);
    }
    const count = objects.objects.length + memory.objects.revoked.size;
    return { pending, objects: count, good: () => this.#exact, parts };
  }
}

/**
 * Another Map, and not the same one with less in it: earlier tables of a Map keep its former members
 * alive for long (see InOrder).
 */
const after = <T>(limit: number, records: ReadonlyMap<number, T>): Map<number, T> =>
  new Map([...records].filter(([sequence]) => sequence > limit));

function originOf({
  hash,
  mine,
  seal,
  open,
}: {
  readonly hash: Buffer;
  readonly mine: Heard | undefined;
  readonly seal: LogSeal | undefined;
  readonly open: boolean;
}): PendingRecord['origin'] {
  if (mine !== undefined) return { kind: mine.hash.equals(hash) ? 'own' : 'foreign' };
  if (seal !== undefined) return { kind: 'sealed', seal };
  return { kind: open ? 'open' : 'foreign' };
}
