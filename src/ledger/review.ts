import { PkiError } from '../common/errors/index.ts';
import type { Clock } from '../common/runtime/index.ts';
import { CompactRange } from '../common/tlog/index.ts';
import { leafHash } from '../domain/index.ts';
import type { LogSnapshot, LogStore } from '../store/ports/index.ts';
import { apply, emptyMemory, lessonFrom, type Memory } from './memory.ts';
import { objectParts, partHash } from './snapshot-parts.ts';

/** Reads the records under the snapshot on which the memory of this process rests. */
export interface LogReview {
  readonly of: number;
  readonly checked: number;
  /**
   * Reads this many further records. `whole`: all of them are under the snapshot's root and agree
   * with the snapshot. Blocks only for the time that these records take.
   *
   * @throws PkiError AUDIT_INVALID with the `sequence` of the record, where it is known
   */
  step(records: number): Promise<'more' | 'whole'>;
}

export type ReviewedSnapshot = LogSnapshot & {
  /** SHA-256 of the parts about objects. */
  readonly objectParts: readonly Buffer[];
};

export interface ReviewSource {
  readonly log: LogStore;
  /** The memory of this process. */
  readonly memory: Memory;
  readonly clock: Clock;
}

/**
 * Reads the records that a start has skipped, and checks that the records under a snapshot are
 * those of its tree and agree with it. Owner of its position in the log.
 */
export class SnapshotReview implements LogReview {
  readonly #snapshot: ReviewedSnapshot;
  readonly #source: ReviewSource;
  readonly #range = new CompactRange();
  readonly #said: Memory;
  #after = 0;
  #tile: { readonly position: number; readonly hashes: Buffer | undefined } | undefined;
  #parts: Iterator<Buffer> | undefined;
  #partsSeen = 0;

  constructor(snapshot: ReviewedSnapshot, source: ReviewSource) {
    this.#snapshot = snapshot;
    this.#said = emptyMemory(source.clock);
    this.#source = source;
  }

  get of(): number {
    return this.#snapshot.size;
  }

  get checked(): number {
    return this.#range.size;
  }

  async step(records: number): Promise<'more' | 'whole'> {
    return this.#range.size < this.of ? this.#read(records) : this.#compare();
  }

  async #read(limit: number): Promise<'more'> {
    const { log, memory } = this.#source;
    const rows = await log.records(this.#after, limit);
    if (rows.length === 0) throw await this.#wrong();
    for (const { sequence, canonical, index } of rows) {
      this.#after = sequence;
      // the record stayed out of the tree
      if (index === undefined) continue;
      const hash = leafHash(canonical);
      if (index !== this.#range.size || !hash.equals(await this.#stored(index)))
        throw await this.#wrong();
      this.#range.append(hash);
      apply(this.#said, lessonFrom(canonical, memory.issued.keptFrom), sequence);
      if (this.#range.size === this.of) break;
    }
    if (this.#range.size === this.of && !this.#range.root().equals(this.#snapshot.root))
      throw invalid(
        `the first ${this.of} records differ from those that were signed: somebody changed ` +
          'them together with the hashes of the tree',
      );
    return 'more';
  }

  /** Compares one part for each step: to make a part takes as long as to read some records. */
  #compare(): 'more' | 'whole' {
    this.#parts ??= objectParts(this.#said.objects.copy());
    const next = this.#parts.next();
    const same =
      next.done === true
        ? this.#partsSeen === this.#snapshot.objectParts.length
        : this.#snapshot.objectParts[this.#partsSeen]?.equals(partHash(next.value)) === true;
    if (!same)
      throw invalid(
        `the snapshot over ${this.of} records, with which this process started, differs from those records`,
      );
    this.#partsSeen += 1;
    if (next.done !== true) return 'more';
    // add live leaves that a snapshot may have left out
    this.#source.memory.issued.complete(this.#said.issued);
    return 'whole';
  }

  async #stored(index: number): Promise<Buffer> {
    const position = Math.floor(index / 256);
    if (this.#tile?.position !== position)
      this.#tile = { position, hashes: await this.#source.log.tile(0, position) };
    return (
      this.#tile.hashes?.subarray((index % 256) * 32, (index % 256) * 32 + 32) ?? Buffer.alloc(0)
    );
  }

  async #wrong(): Promise<PkiError> {
    const index = this.#range.size;
    const sequence = await this.#source.log.sequenceAt(index);
    return invalid(
      `record ${sequence ?? '?'} (number ${index} in the tree) was changed, moved or deleted`,
      sequence,
    );
  }
}

const invalid = (message: string, sequence?: number): PkiError =>
  new PkiError('AUDIT_INVALID', message, {
    grade: 'fatal',
    ...(sequence === undefined ? {} : { detail: { sequence } }),
  });
