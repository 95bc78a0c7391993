import { setImmediate } from 'node:timers/promises';
import type { Logger } from '../../common/runtime/index.ts';
import { CompactRange, nodesFromTiles } from '../../common/tlog/index.ts';
import { leafHash } from '../../domain/index.ts';
import type { LogSnapshot } from '../ports/index.ts';
import { contentOf } from './ledger-parts.ts';
import { apply, emptyMemory, learn, type Lesson, type LogMemory } from './log-memory.ts';
import { SnapshotReview, type ReviewSource } from './log-review.ts';
import type { SnapshotRows } from './log-snapshots.ts';

export interface LogLoadSource extends ReviewSource {
  readonly snapshots: SnapshotRows;
  /** Leaves in the tree. */
  readonly size: () => number;
  readonly newestCheckpoint: () => { readonly size: number; readonly root: Buffer } | undefined;
  /** What this process has written and is not in the tree yet. */
  readonly own: () => Iterable<readonly [sequence: number, lesson: Lesson]>;
  readonly logger: Logger;
}

const rowsAtOnce = 2_000;
/** A read that takes longer says how far it is. */
const sayEveryMs = 2_000;

/** Fills the memory of the log at a start. Owner of what that memory rests on. */
export class LogLoad {
  readonly #source: LogLoadSource;
  #basis: (LogSnapshot & { readonly objectParts: readonly Buffer[] }) | undefined;
  #computed = new CompactRange();
  /**
   * Records up to this one counted although they were not in the tree: there was no checkpoint yet,
   * and nothing to defend.
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
   * From the newest snapshot, smaller than `below`, that fits the tree, and the records behind it;
   * else from all records.
   */
  async load(below = Number.POSITIVE_INFINITY): Promise<void> {
    const { snapshots, logger } = this.#source;
    const known = snapshots.list().filter(({ size }) => size < below);
    for (const snapshot of known) {
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

  /** Returns why it does not fit. */
  async #loadFrom(snapshot: LogSnapshot): Promise<string | undefined> {
    const { snapshots, size, newestCheckpoint, tile, clock } = this.#source;
    const head = { size: size(), checkpoint: newestCheckpoint() };
    if (snapshot.size > head.size || head.checkpoint?.size !== head.size)
      return `the tree has ${head.size} records, the newest checkpoint is over ${head.checkpoint?.size ?? 0}`;
    const fresh = emptyMemory(clock);
    let range: CompactRange;
    let hashes: readonly Buffer[];
    try {
      const parts = snapshots.parts(snapshot);
      if (parts === undefined) return 'its parts are not those that it names';
      range = CompactRange.at(
        snapshot.size,
        nodesFromTiles(({ level, index }) => tile(level, index)),
      );
      if (!range.root().equals(snapshot.root)) return 'the tree has another root at its size';
      const content = contentOf(parts);
      fresh.ledger.restore(content.ledger);
      fresh.issued.add(content.issued);
      hashes = content.objectParts;
    } catch (thrown) {
      return (thrown as Error).message;
    }
    // only what has its place in the tree counts, and the root below shows that these are its
    // records
    await this.#read(snapshot.sequence, (sequence, canonical, index) => {
      if (index !== range.size || index >= head.size) return;
      range.append(leafHash(canonical));
      learn(fresh, canonical, sequence, clock.now());
    });
    if (range.size !== head.size || !range.root().equals(head.checkpoint.root))
      return 'the records behind it are not those of the tree';
    this.#settle(fresh, range, { ...snapshot, objectParts: hashes });
    return undefined;
  }

  async #loadWhole(): Promise<void> {
    const { size, newestCheckpoint, clock, logger } = this.#source;
    const head = size();
    const open = newestCheckpoint() === undefined;
    const fresh = emptyMemory(clock);
    const range = new CompactRange();
    const begunMs = clock.monotonicMs();
    let saidMs = begunMs;
    await this.#read(
      0,
      (sequence, canonical, index) => {
        if (index !== undefined && index === range.size && index < head)
          range.append(leafHash(canonical));
        // what stayed out of the tree has no say; what is not in it yet gets one when the sequencer
        // found its seal good
        else if (!open) return;
        else this.#openThrough = sequence;
        learn(fresh, canonical, sequence, clock.now());
      },
      () => {
        const nowMs = clock.monotonicMs();
        if (nowMs - saidMs < sayEveryMs) return;
        saidMs = nowMs;
        logger.info({ read: range.size, of: head }, 'reading the whole audit log');
      },
    );
    const seconds = Math.round((clock.monotonicMs() - begunMs) / 1000);
    if (seconds >= sayEveryMs / 1000)
      logger.info({ records: range.size, seconds }, 'the whole audit log was read');
    this.#settle(fresh, range, undefined);
  }

  async #read(
    from: number,
    each: (sequence: number, canonical: Buffer, index: number | undefined) => void,
    between: () => void = () => {},
  ): Promise<void> {
    const place = this.#source.runs.walker();
    for (let after = from; ; ) {
      const rows = this.#source.records(after, rowsAtOnce);
      for (const { sequence, canonical } of rows) each(sequence, canonical, place(sequence));
      if (rows.length < rowsAtOnce) return;
      after = rows.at(-1)?.sequence ?? after;
      between();
      await setImmediate();
    }
  }

  #settle(
    fresh: LogMemory,
    range: CompactRange,
    basis: (LogSnapshot & { readonly objectParts: readonly Buffer[] }) | undefined,
  ): void {
    const { own, memory } = this.#source;
    for (const [sequence, lesson] of own()) apply(fresh, lesson, sequence);
    memory.ledger.become(fresh.ledger);
    memory.issued.become(fresh.issued);
    this.#computed = range;
    this.#basis = basis;
  }
}
