import { setImmediate } from 'node:timers/promises';
import { nextTurn, type Clock, type Logger } from '../common/runtime/index.ts';
import { CompactRange } from '../common/tlog/index.ts';
import { committedObject, leafHash } from '../domain/index.ts';
import type { LogRow, LogSnapshot, LogStore, StoredCheckpoint } from '../store/ports/index.ts';
import { apply, emptyMemory, lessonFrom, type Lesson, type Memory } from './memory.ts';
import { SnapshotReview, type ReviewedSnapshot } from './review.ts';
import { contentOf, PartsDigest } from './snapshot-parts.ts';
import { withTiles } from './tiles.ts';

export interface LogLoadSource {
  readonly log: LogStore;
  /** The memory of this process. */
  readonly memory: Memory;
  /** The records of this process that are not in the tree yet. */
  readonly own: () => Iterable<readonly [sequence: number, lesson: Lesson]>;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface TreeHead {
  readonly size: number;
  readonly checkpoint: StoredCheckpoint | undefined;
}

/** About ten milliseconds. */
const rowsAtOnce = 500;
/** A read that takes longer logs its progress. */
const sayEveryMs = 2_000;

/** Fills the memory of the log at a start. Owner of the basis of that memory. */
export class LogLoad {
  readonly #source: LogLoadSource;
  #basis: ReviewedSnapshot | undefined;
  #computed = new CompactRange();
  /**
   * Records up to this sequence counted although they were not in the tree: there was no checkpoint
   * yet, and nothing to protect.
   */
  #openThrough = 0;

  constructor(source: LogLoadSource) {
    this.#source = source;
  }

  get basis(): LogSnapshot | undefined {
    return this.#basis;
  }

  get computed(): CompactRange {
    return this.#computed;
  }

  get openThrough(): number {
    return this.#openThrough;
  }

  review(): SnapshotReview | undefined {
    return this.#basis === undefined ? undefined : new SnapshotReview(this.#basis, this.#source);
  }

  /**
   * Loads the newest snapshot that is smaller than `below` and fits the tree, and the records
   * behind it. Without one, loads all records.
   */
  async load(below = Number.POSITIVE_INFINITY): Promise<void> {
    const { log, logger } = this.#source;
    for (const snapshot of await log.snapshots()) {
      if (snapshot.size >= below) continue;
      const why = await this.#loadFrom(snapshot);
      if (why === undefined) return;
      logger.warn({ size: snapshot.size, why }, 'a snapshot of the audit log is not used');
    }
    await this.#loadWhole();
  }

  async withoutBasis(why: string): Promise<void> {
    const refused = this.#basis;
    if (refused === undefined) return;
    this.#source.logger.warn(
      { size: refused.size, why },
      'a snapshot of the audit log is not used',
    );
    this.#basis = undefined;
    await this.load(refused.size);
  }

  async #head(): Promise<TreeHead> {
    const { log } = this.#source;
    const [{ size }, checkpoint] = await Promise.all([log.head(), log.latestCheckpoint()]);
    return { size, checkpoint };
  }

  /** Loads a snapshot. Returns the reason if it does not fit. */
  async #loadFrom(snapshot: LogSnapshot): Promise<string | undefined> {
    const { log, clock } = this.#source;
    const head = await this.#head();
    const root = head.checkpoint?.root;
    if (snapshot.size > head.size || head.checkpoint?.size !== head.size || root === undefined)
      return `the tree has ${head.size} records, the newest checkpoint is over ${head.checkpoint?.size ?? 0}`;
    const fresh = emptyMemory(clock);
    let range: CompactRange;
    let hashes: readonly Buffer[] | undefined;
    try {
      hashes = await this.#restore(fresh, snapshot);
      if (hashes === undefined) return 'its parts do not have the digest that it states';
      range = await withTiles(log, (read) => CompactRange.at(snapshot.size, read));
      if (!range.root().equals(snapshot.root)) return 'the tree has another root at its size';
    } catch (thrown) {
      return (thrown as Error).message;
    }
    // only records with an index in the tree count; the root below proves that they are its records
    await this.#read(snapshot.sequence, ({ sequence, canonical, index }) => {
      if (index !== range.size || index >= head.size) return;
      range.append(leafHash(canonical));
      apply(fresh, lessonFrom(canonical, fresh.issued.keptFrom), sequence);
    });
    if (range.size !== head.size || !range.root().equals(root))
      return 'the records behind it differ from those of the tree';
    this.#settle(fresh, range, { ...snapshot, objectParts: hashes });
    return undefined;
  }

  async #loadWhole(): Promise<void> {
    const keptFrom = await this.#keptFrom();
    const { fresh, range } = await this.#readWhole(keptFrom);
    if (keptFrom <= fresh.issued.keptFrom) {
      this.#settle(fresh, range, undefined);
      return;
    }
    // the record of the clock that was read first is none of the tree
    const again = await this.#readWhole(Number.NEGATIVE_INFINITY);
    this.#settle(again.fresh, again.range, undefined);
  }

  /**
   * From when on leaves are kept by the newest record of the clock, which stands behind the leaves.
   * Read from the end of the log. Not proven yet.
   */
  async #keptFrom(): Promise<number> {
    const { log, clock } = this.#source;
    const { sequence } = await log.head();
    const memory = emptyMemory(clock);
    for (let end = sequence; end > 0; end -= rowsAtOnce) {
      const rows = await log.records(Math.max(0, end - rowsAtOnce), rowsAtOnce);
      for (const row of rows) {
        const object = row.index === undefined ? undefined : committedObject(row.canonical);
        if (object?.kind === 'clock') memory.objects.apply(object, row.sequence);
      }
      if (memory.objects.clock() !== undefined) break;
      await setImmediate();
    }
    return memory.issued.keptFrom;
  }

  /** Leaves that ended before `keptFrom` are left out. */
  async #readWhole(
    keptFrom: number,
  ): Promise<{ readonly fresh: Memory; readonly range: CompactRange }> {
    const { clock, logger } = this.#source;
    const head = await this.#head();
    const fresh = emptyMemory(clock);
    const range = new CompactRange();
    const begunMs = clock.monotonicMs();
    let saidMs = begunMs;
    await this.#read(
      0,
      ({ sequence, canonical, index }) => {
        if (index !== undefined && index === range.size && index < head.size)
          range.append(leafHash(canonical));
        // A record that stayed out of the tree does not count. A record that is not in the tree yet
        // counts after the sequencer has verified its seal.
        else if (head.checkpoint !== undefined) return;
        else this.#openThrough = sequence;
        apply(fresh, lessonFrom(canonical, keptFrom), sequence);
      },
      () => {
        const nowMs = clock.monotonicMs();
        if (nowMs - saidMs < sayEveryMs) return;
        saidMs = nowMs;
        logger.info({ read: range.size, of: head.size }, 'reading the whole audit log');
      },
    );
    const seconds = Math.round((clock.monotonicMs() - begunMs) / 1000);
    if (seconds >= sayEveryMs / 1000)
      logger.info({ records: range.size, seconds }, 'the whole audit log was read');
    return { fresh, range };
  }

  /**
   * Fills a fresh memory with the parts of a snapshot, one in a turn of the loop, since a long log
   * has a thousand. Returns the SHA-256 of those about objects; undefined: the parts do not exist or
   * have another digest, and the memory must not be used.
   */
  async #restore(fresh: Memory, snapshot: LogSnapshot): Promise<readonly Buffer[] | undefined> {
    const hashes: Buffer[] = [];
    const digest = new PartsDigest();
    // the database was opened in this one
    await nextTurn();
    for (let position = 0; position < snapshot.parts; position += 1) {
      const part = await this.#source.log.snapshotPart(snapshot.size, position);
      if (part === undefined) return undefined;
      digest.add(part);
      const { objects, issued, places, shards, objectParts } = contentOf([part]);
      fresh.objects.restore(objects);
      fresh.issued.restore(issued);
      fresh.quotas.restore(places);
      fresh.shards.restore(shards);
      hashes.push(...objectParts);
      await setImmediate();
    }
    return digest.digest().equals(snapshot.digest) ? hashes : undefined;
  }

  async #read(
    from: number,
    visit: (row: LogRow) => void,
    between: () => void = () => {},
  ): Promise<void> {
    for (let after = from; ; ) {
      const rows = await this.#source.log.records(after, rowsAtOnce);
      for (const row of rows) visit(row);
      if (rows.length < rowsAtOnce) return;
      after = rows.at(-1)?.sequence ?? after;
      between();
      await setImmediate();
    }
  }

  #settle(fresh: Memory, range: CompactRange, basis: ReviewedSnapshot | undefined): void {
    const { own, memory } = this.#source;
    for (const [sequence, lesson] of own()) apply(fresh, lesson, sequence);
    memory.objects.become(fresh.objects);
    memory.issued.become(fresh.issued);
    memory.quotas.become(fresh.quotas);
    memory.shards.become(fresh.shards);
    this.#computed = range;
    this.#basis = basis;
  }
}
