import type { Clock } from '../../common/runtime/index.ts';
import {
  claimOf,
  tileWidth,
  type EvidenceStatement,
  type ExportLine,
} from '../../common/tlog/index.ts';
import { readCanonical, type AuditRecord } from '../../domain/index.ts';
import type { LedgerEvidence, LedgerLog, LogHead } from '../../ledger/index.ts';
import type { AuditStore, CertificateStore, StoredCheckpoint } from '../../store/ports/index.ts';
import { pagesOf } from '../../store/pages.ts';

/** Facts of the log that are not in the store. */
export interface LogFacts {
  readonly origin: string;
  verifierKey(): string;
  /** Other keys of this log. */
  otherKeys(): readonly string[];
  /**
   * Whether the record with this sequence and hash is in the tree, or was written by this process
   * and waits for the tree.
   */
  holds(sequence: number, leafHash: Buffer): Promise<boolean>;
  /** The newest tree; undefined: there is none yet. */
  readonly latest: LogHead | undefined;
}

export interface AuditStreamDependencies {
  readonly audit: Pick<AuditStore, 'list' | 'count'>;
  readonly log: LedgerLog;
  readonly certificates: Pick<CertificateStore, 'list'>;
  readonly evidence: LedgerEvidence;
  readonly facts: LogFacts;
  readonly clock: Clock;
}

/**
 * The whole log as lines of an export: the records under the present checkpoint, and the records
 * that wait for the next one.
 */
export async function* exportLines(
  dependencies: AuditStreamDependencies,
  signal: AbortSignal,
): AsyncGenerator<ExportLine> {
  const { log, facts, clock } = dependencies;
  const newest = await log.latestCheckpoint();
  const until = await dependencies.audit.count();
  const size = newest?.size ?? 0;
  const reasons = new Map(
    (await allExcluded(log)).map(({ sequence, reason }) => [sequence, reason]),
  );
  yield {
    type: 'log',
    version: 1,
    origin: facts.origin,
    verifierKey: facts.verifierKey(),
    otherKeys: facts.otherKeys(),
    exportedAtMs: clock.nowMs(),
  };
  const checkpoints = new Checkpoints(log);
  let tile = -1;
  for (let after: string | undefined; !signal.aborted; ) {
    const page = await dependencies.audit.list(
      {},
      after === undefined ? { size: 1000 } : { size: 1000, after },
    );
    const places = await log.indexesOf(page.items.map(({ sequence }) => sequence));
    for (const [at, record] of page.items.entries()) {
      if (record.sequence > until) break;
      const place = places[at];
      const index = place !== undefined && place < size ? place : undefined;
      if (index !== undefined && Math.floor(index / tileWidth) !== tile) {
        tile = Math.floor(index / tileWidth);
        yield {
          type: 'tile',
          index: tile,
          hashes: ((await log.tile(0, tile)) ?? Buffer.alloc(0)).toString('base64'),
        };
      }
      yield recordLine(record, index, reasons.get(record.sequence));
      if (index === undefined) continue;
      if (record.kind === 'authority.active') yield* evidenceLines(record, dependencies.evidence);
      for (const { note, timeMs } of await checkpoints.upTo(Math.min(index + 1, size)))
        yield { type: 'checkpoint', note, timeMs };
    }
    if (page.next === undefined || page.items.length === 0) break;
    after = page.next;
  }
  // checkpoints over missing records: the export contains them, so that its reader notices
  for (const { note, timeMs } of await checkpoints.upTo(size))
    yield { type: 'checkpoint', note, timeMs };
  yield { type: 'end', size };
}

/** The stored evidence without a check: the reader of the export judges it. */
async function* evidenceLines(
  { subject, canonical }: AuditRecord,
  evidence: LedgerEvidence,
): AsyncGenerator<ExportLine> {
  const claim = claimOf(subject, readCanonical(canonical)?.detail ?? {});
  const statement = claim === undefined ? undefined : await evidence.statement(claim.sha256);
  if (claim === undefined || statement === undefined) return;
  const text = statement.toString('utf8');
  yield { type: 'evidence', authorityId: subject, statement: text };
  for (let index = 0; index < partsOf(text); index += 1) {
    const chunk = await evidence.chunk(claim.sha256, index);
    if (chunk === undefined) return;
    yield { type: 'evidence-lines', lines: chunk.toString('utf8') };
  }
}

function partsOf(statement: string): number {
  try {
    return (JSON.parse(statement.slice(statement.indexOf('\n') + 1)) as EvidenceStatement).chunks
      .length;
  } catch {
    return 0;
  }
}

const recordLine = (
  record: AuditRecord,
  index: number | undefined,
  reason: string | undefined,
): ExportLine => ({
  type: 'record',
  sequence: record.sequence,
  ...(index === undefined ? { out: reason ?? 'waiting' } : { index }),
  timeMs: record.timeMs,
  actor: record.actor,
  kind: record.kind,
  subject: record.subject,
  canonical: record.canonical.toString('utf8'),
});

async function allExcluded(
  log: LedgerLog,
): Promise<readonly { readonly sequence: number; readonly reason: string }[]> {
  const all: { readonly sequence: number; readonly reason: string }[] = [];
  for (let after = 0; ; ) {
    const some = await log.excluded(after, 1000);
    all.push(...some);
    const last = some.at(-1);
    if (last === undefined) return all;
    after = last.sequence;
  }
}

/**
 * Checkpoints in the order of their size. They are read in pages and yielded when the records reach
 * their size.
 */
class Checkpoints {
  readonly #log: LedgerLog;
  #waiting: StoredCheckpoint[] = [];
  #readUpTo = 0;
  #all = false;

  constructor(log: LedgerLog) {
    this.#log = log;
  }

  async upTo(size: number): Promise<readonly StoredCheckpoint[]> {
    if (this.#waiting.length === 0 && !this.#all) {
      this.#waiting = [...(await this.#log.checkpoints(this.#readUpTo, 500))];
      this.#all = this.#waiting.length === 0;
      this.#readUpTo = this.#waiting.at(-1)?.size ?? this.#readUpTo;
    }
    if ((this.#waiting[0]?.size ?? Infinity) > size) return [];
    const due = this.#waiting.filter((checkpoint) => checkpoint.size <= size);
    this.#waiting = this.#waiting.slice(due.length);
    return this.#waiting.length > 0 || this.#all ? due : [...due, ...(await this.upTo(size))];
  }
}

export interface WatchFilter {
  readonly identity?: string;
  readonly kind?: string;
  readonly actor?: string;
}

export interface WatchedRecord {
  readonly record: AuditRecord;
  /** True if the watched identity got a holder that it did not have before. */
  readonly newHolder: boolean;
}

/**
 * Yields `undefined` once no record can be missed any more, then each record when it is committed.
 */
export async function* watchRecords(
  dependencies: AuditStreamDependencies,
  filter: WatchFilter,
  signal: AbortSignal,
): AsyncGenerator<WatchedRecord | undefined> {
  let wake: (() => void) | undefined;
  let news = false;
  const stop = dependencies.log.onRecords(() => {
    news = true;
    wake?.();
  });
  const onAbort = (): void => wake?.();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    let after = await dependencies.audit.count();
    const holders =
      filter.identity === undefined
        ? new Set<string>()
        : await holdersOf(dependencies, filter.identity, signal);
    yield undefined;
    while (!signal.aborted) {
      news = false;
      for (let more = true; more && !signal.aborted; ) {
        const page = await dependencies.audit.list({}, { size: 500, after: String(after) });
        for (const record of page.items) {
          after = record.sequence;
          const content = readCanonical(record.canonical);
          if (!matches(record, content?.detail ?? {}, filter)) continue;
          const holder =
            record.kind === 'certificate.issued' && filter.identity !== undefined
              ? String(content?.detail['holder'] ?? '')
              : '';
          const newHolder = holder !== '' && !holders.has(holder);
          if (holder !== '') holders.add(holder);
          yield { record, newHolder };
        }
        more = page.next !== undefined;
      }
      if (!news && !signal.aborted) await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    stop();
    signal.removeEventListener('abort', onAbort);
  }
}

function matches(
  record: AuditRecord,
  detail: Readonly<Record<string, unknown>>,
  { identity, kind, actor }: WatchFilter,
): boolean {
  if (kind !== undefined && record.kind !== kind) return false;
  if (actor !== undefined && record.actor !== actor) return false;
  return identity === undefined || record.subject === identity || detail['spiffeId'] === identity;
}

async function holdersOf(
  dependencies: AuditStreamDependencies,
  spiffeId: string,
  signal: AbortSignal,
): Promise<Set<string>> {
  const holders = new Set<string>();
  for await (const certificates of pagesOf((page) =>
    dependencies.certificates.list({ spiffeId }, 'created', page),
  )) {
    if (signal.aborted) break;
    for (const { holder, state } of certificates) if (state === 'issued') holders.add(holder);
  }
  return holders;
}
