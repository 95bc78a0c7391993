import { hashBytes, tileWidth } from '../../common/tlog/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import {
  leafHash,
  readCanonical,
  type AuditRecord,
  type AuditStatement,
} from '../../domain/index.ts';
import type { LedgerLog } from '../../ledger/index.ts';
import type { AuditFilter, AuditStore } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type { LogFacts } from '../inspection/audit-stream.ts';
import { Turns } from './turns.ts';

export interface RecordDependencies {
  readonly audit: Pick<AuditStore, 'list'>;
  readonly log: Pick<LedgerLog, 'indexesOf' | 'tile' | 'pendingHash'>;
  readonly facts: Pick<LogFacts, 'holds'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

export interface ProvenRecord {
  readonly sequence: number;
  readonly timeMs: number;
  /** Undefined: the log does not vouch for the row. */
  readonly statement: AuditStatement | undefined;
}

const pageSize = 250;

/**
 * The newest records first, in pages, each compared with the tree. A tile of the tree is proven
 * once, by one of its records, since the proof covers all hashes of the tile. Between the pages, and
 * within a page after some milliseconds, other calls run.
 */
export async function* provenRecords(
  dependencies: RecordDependencies,
  filter: Pick<AuditFilter, 'kind' | 'sinceMs' | 'untilMs'>,
  signal: AbortSignal,
): AsyncGenerator<readonly ProvenRecord[]> {
  const { audit, log, clock } = dependencies;
  const tree = new ProvenTiles(dependencies);
  const pages = pagesOf((page) => audit.list({ ...filter, newestFirst: true }, page), {
    size: pageSize,
    signal,
  });
  const turns = new Turns(clock, signal);
  for await (const rows of pages) {
    const places = await log.indexesOf(rows.map(({ sequence }) => sequence));
    const records: ProvenRecord[] = [];
    for (const [at, row] of rows.entries()) {
      const { sequence, timeMs } = row;
      const isProven = tree.known(row, places[at]) ?? (await tree.prove(row, places[at]));
      const statement = isProven ? readCanonical(row.canonical) : undefined;
      records.push({ sequence, timeMs, statement });
      if (turns.isOver) await turns.next();
    }
    yield records;
    await turns.next();
  }
}

/** Owner of the tile that was proven last: records come in the order of the tree, or against it. */
class ProvenTiles {
  readonly #dependencies: RecordDependencies;
  #tile: { readonly index: number; readonly hashes: Buffer } | undefined;

  constructor(dependencies: RecordDependencies) {
    this.#dependencies = dependencies;
  }

  /** Undefined: the tile of the record was not proven yet. */
  known(row: AuditRecord, place: number | undefined): boolean | undefined {
    if (place === undefined || this.#tile?.index !== Math.floor(place / tileWidth))
      return undefined;
    const at = (place % tileWidth) * hashBytes;
    const { hashes } = this.#tile;
    return hashes.length < at + hashBytes
      ? undefined
      : hashes.subarray(at, at + hashBytes).equals(leafHash(row.canonical));
  }

  async prove({ sequence, canonical }: AuditRecord, place: number | undefined): Promise<boolean> {
    const { facts, log } = this.#dependencies;
    const hash = leafHash(canonical);
    const pending = log.pendingHash(sequence);
    if (pending !== undefined) return pending.equals(hash);
    if (!(await facts.holds(sequence, hash))) return false;
    if (place === undefined) return true;
    const index = Math.floor(place / tileWidth);
    const hashes = await log.tile(0, index);
    this.#tile = hashes === undefined ? undefined : { index, hashes };
    return true;
  }
}
