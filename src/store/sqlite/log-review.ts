import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { CompactRange } from '../../common/tlog/index.ts';
import { leafHash } from '../../domain/index.ts';
import type { LogReview, LogSnapshot } from '../ports/index.ts';
import { objectParts, partHash } from './ledger-parts.ts';
import { emptyMemory, learn, type LogMemory } from './log-memory.ts';
import type { LogRuns } from './log-runs.ts';

export interface ReviewSource {
  readonly records: (
    after: number,
    limit: number,
  ) => readonly { readonly sequence: number; readonly canonical: Buffer }[];
  readonly tile: (level: number, position: number) => Buffer | undefined;
  readonly runs: LogRuns;
  /** Of this process. */
  readonly memory: LogMemory;
  readonly clock: Clock;
  /** Runs between transactions. */
  readonly look: <T>(work: () => T) => Promise<T>;
}

/**
 * Reads what a start has passed over: whether the records under a snapshot are those of its tree,
 * and say what it says. Owner of its place in the log.
 */
export class SnapshotReview implements LogReview {
  readonly #snapshot: LogSnapshot & { readonly objectParts: readonly Buffer[] };
  readonly #source: ReviewSource;
  readonly #range = new CompactRange();
  readonly #said: LogMemory;
  readonly #place: (sequence: number) => number | undefined;
  #after = 0;
  #tile: { readonly position: number; readonly hashes: Buffer | undefined } | undefined;
  #parts: Iterator<Buffer> | undefined;
  #partsSeen = 0;

  constructor(
    snapshot: LogSnapshot & { readonly objectParts: readonly Buffer[] },
    source: ReviewSource,
  ) {
    this.#snapshot = snapshot;
    this.#said = emptyMemory(source.clock);
    this.#source = source;
    this.#place = source.runs.walker();
  }

  get of(): number {
    return this.#snapshot.size;
  }

  get checked(): number {
    return this.#range.size;
  }

  step(records: number): Promise<'more' | 'whole'> {
    return this.#source.look(() =>
      this.#range.size < this.of ? this.#read(records) : this.#compare(),
    );
  }

  #read(limit: number): 'more' {
    const rows = this.#source.records(this.#after, limit);
    if (rows.length === 0) throw this.#wrong();
    for (const { sequence, canonical } of rows) {
      this.#after = sequence;
      const index = this.#place(sequence);
      // it stayed out of the tree
      if (index === undefined) continue;
      const hash = leafHash(canonical);
      if (index !== this.#range.size || !hash.equals(this.#stored(index))) throw this.#wrong();
      this.#range.append(hash);
      learn(this.#said, canonical, sequence, this.#source.clock.now());
      if (this.#range.size === this.of) break;
    }
    if (this.#range.size === this.of && !this.#range.root().equals(this.#snapshot.root))
      throw invalid(
        `the first ${this.of} records are not those that were signed: they were changed together with the hashes of the tree`,
      );
    return 'more';
  }

  /** One part for each step: to make one takes as long as to read some records. */
  #compare(): 'more' | 'whole' {
    this.#parts ??= objectParts(this.#said.ledger.copy());
    const next = this.#parts.next();
    const same =
      next.done === true
        ? this.#partsSeen === this.#snapshot.objectParts.length
        : this.#snapshot.objectParts[this.#partsSeen]?.equals(partHash(next.value)) === true;
    if (!same)
      throw invalid(
        `the snapshot over ${this.of} records, with which this process began, does not say what those records say`,
      );
    this.#partsSeen += 1;
    if (next.done !== true) return 'more';
    // what a snapshot may have left out of leaves that live
    this.#source.memory.issued.add(this.#said.issued.copy());
    return 'whole';
  }

  #stored(index: number): Buffer {
    const position = Math.floor(index / 256);
    if (this.#tile?.position !== position)
      this.#tile = { position, hashes: this.#source.tile(0, position) };
    return (
      this.#tile.hashes?.subarray((index % 256) * 32, (index % 256) * 32 + 32) ?? Buffer.alloc(0)
    );
  }

  #wrong(): PkiError {
    const index = this.#range.size;
    const sequence = this.#source.runs.sequenceAt(index);
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
