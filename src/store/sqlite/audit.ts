import { sql } from 'kysely';
import { PkiError } from '../../common/errors/index.ts';
import {
  canonicalBytes,
  leafHash,
  takenPlacesIn,
  type AuditEvent,
  type AuditRecord,
  type LogObject,
  type LogObjectKind,
  type TakenPlace,
} from '../../domain/index.ts';
import type {
  AuditFilter,
  AuditStore,
  CommittedRecord,
  Page,
  PageRequest,
} from '../ports/index.ts';
import type { AuditTable } from '../schema.ts';
import { bytes, hex } from './codec.ts';
import type { Engine } from './engine.ts';
import { numberKey, pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

/**
 * Appends to the log inside the caller's transaction. `object`: the object that the record commits
 * to.
 */
export type AuditWriter = (event: AuditEvent, object?: LogObject) => void;

export interface AuditHooks {
  /**
   * Called inside the transaction with all its remaining records. May write, but must not append.
   */
  readonly sealing: (records: readonly CommittedRecord[]) => void;
  /** Called after the commit. */
  readonly committed: (records: readonly CommittedRecord[]) => void;
}

/** How far a clock may go back between two records, so that a search by time still finds both. */
const clockToleranceMs = 3_600_000;

type AuditStatements = ReturnType<typeof auditStatements>;

/** The log, and what is asked of the records of the open transaction. */
interface OpenAudit {
  readonly store: AuditStore;
  readonly write: AuditWriter;
  /** The newest object of that name among these records. */
  readonly recorded: (kind: LogObjectKind, id: string) => LogObject | undefined;
  /** The places in quotas that these records take. */
  readonly takenPlaces: () => readonly TakenPlace[];
}

export function createAudit(engine: Engine, hooks: AuditHooks): OpenAudit {
  const statements = auditStatements(engine);
  const append = createAppend(engine, statements);

  // The records of the open transaction, and their number before its present write.
  let written: CommittedRecord[] = [];
  let mark = 0;
  engine.beforeJob((first) => {
    if (first) written = [];
    mark = written.length;
  });
  engine.onRollback(() => {
    written.length = Math.min(mark, written.length);
  });
  const recorded = (kind: LogObjectKind, id: string): LogObject | undefined =>
    written.findLast(
      ({ statement: { object } }) =>
        object !== undefined && object.kind === kind && object.id === id,
    )?.statement.object;
  engine.beforeCommit(() => {
    if (written.length > 0) hooks.sealing(written);
  });
  engine.afterCommit(() => {
    const records = written;
    written = [];
    mark = 0;
    if (records.length > 0) hooks.committed(records);
  });
  const write: AuditWriter = (event, object) => {
    const canonical = canonicalBytes(event, object);
    const hash = leafHash(canonical);
    const sequence = append({ ...event, canonical, sha256: hash });
    const statement = object === undefined ? event : { ...event, object };
    written.push({ sequence, canonical, leafHash: hash, statement });
  };
  const firstSince = (sinceMs: number): number => firstAt(statements, sinceMs);

  return {
    write,
    recorded,
    takenPlaces: () => placesIn(written),
    store: {
      append: (events) =>
        engine.write(() => {
          for (const event of events) write(event);
        }),
      list: (filter, page) =>
        engine.read(() => listed(engine, firstSince, filter, page), page.signal),
      count: () => engine.read(() => lastSequence(statements)),
    },
  };
}

const placesIn = (records: readonly CommittedRecord[]): readonly TakenPlace[] =>
  records.flatMap(({ statement }) => takenPlacesIn(statement));

/** Assigns the sequence of the next record and writes its row. */
function createAppend(
  engine: Engine,
  { insert, last }: AuditStatements,
): (record: AuditEvent & { readonly canonical: Buffer; readonly sha256: Buffer }) => number {
  // The end of the log, so that an append need not look it up. Dropped after every rollback.
  let end: { sequence: number; highMs: number } | undefined;
  engine.onRollback(() => {
    end = undefined;
  });
  const readEnd = (): { sequence: number; highMs: number } => {
    const row = last.get({});
    return { sequence: row?.sequence ?? 0, highMs: row?.time_high_ms ?? 0 };
  };
  return ({ timeMs, actor, kind, subject, canonical, sha256 }) => {
    const append = (): number => {
      const before = end ?? readEnd();
      end = { sequence: before.sequence + 1, highMs: Math.max(before.highMs, timeMs) };
      const { sequence, highMs } = end;
      const place = { sequence, time_ms: timeMs, time_high_ms: highMs };
      insert.run({ ...place, actor, kind, subject, canonical, sha256 });
      return sequence;
    };
    try {
      return append();
    } catch (thrown) {
      // a foreign row has the next sequence: it stays out of the tree, and our record follows it
      if (!(thrown instanceof PkiError && thrown.code === 'ALREADY_EXISTS')) throw thrown;
      end = undefined;
      return append();
    }
  };
}

const lastSequence = ({ last }: AuditStatements): number => last.get({})?.sequence ?? 0;

/**
 * The first record at or after a time, by binary search: sequences have no gaps, and `time_high_ms`
 * grows with them, so that no index is needed.
 */
function firstAt(statements: AuditStatements, sinceMs: number): number {
  let low = 1;
  let above = lastSequence(statements) + 1;
  while (low < above) {
    const middle = Math.floor((low + above) / 2);
    if ((statements.high.get({ sequence: middle })?.time_high_ms ?? 0) >= sinceMs) above = middle;
    else low = middle + 1;
  }
  return low;
}

function listed(
  engine: Engine,
  firstSince: (sinceMs: number) => number,
  filter: AuditFilter,
  page: PageRequest,
): Page<AuditRecord> {
  const size = pageSize(page);
  const after = numberKey(page.after, 1)?.[0];
  const backwards = filter.newestFirst === true;
  let query = builder
    .selectFrom('audit')
    .selectAll()
    .orderBy('sequence', backwards ? 'desc' : 'asc')
    .limit(size + 1);
  if (filter.subject !== undefined) query = query.where('subject', '=', filter.subject);
  if (filter.actor !== undefined) query = query.where('actor', '=', filter.actor);
  if (filter.kind !== undefined) query = query.where('kind', '=', filter.kind);
  // stated as a literal, so that the planner may use the partial index
  if (filter.kind !== undefined && filter.kind !== 'certificate.issued')
    query = query.where(sql<boolean>`kind <> 'certificate.issued'`);
  if (filter.sequence !== undefined) query = query.where('sequence', '=', filter.sequence);
  if (filter.sinceMs !== undefined) query = query.where('time_ms', '>=', filter.sinceMs);
  if (filter.untilMs !== undefined) query = query.where('time_ms', '<=', filter.untilMs);
  const from = filter.sinceMs === undefined ? 0 : firstSince(filter.sinceMs) - 1;
  // clocks sometimes go back: a later record may still have a time within the bound
  const below =
    filter.untilMs === undefined
      ? Number.MAX_SAFE_INTEGER
      : firstSince(filter.untilMs + clockToleranceMs + 1);
  query = backwards
    ? query.where('sequence', '>', from).where('sequence', '<', Math.min(after ?? below, below))
    : query.where('sequence', '>', Math.max(after ?? 0, from)).where('sequence', '<', below);
  return toPage(engine.rows(query), size, toRecord, (row) => String(row.sequence));
}

function auditStatements(engine: Engine) {
  return {
    insert: engine.statement<{ [Column in keyof AuditTable]: AuditTable[Column] }>()(
      (query, slot) =>
        query.insertInto('audit').values({
          sequence: slot('sequence'),
          time_ms: slot('time_ms'),
          time_high_ms: slot('time_high_ms'),
          actor: slot('actor'),
          kind: slot('kind'),
          subject: slot('subject'),
          canonical: slot('canonical'),
          sha256: slot('sha256'),
        }),
    ),
    last: engine.statement<Record<never, never>>()((query) =>
      query
        .selectFrom('audit')
        .select(['sequence', 'time_high_ms'])
        .orderBy('sequence', 'desc')
        .limit(1),
    ),
    high: engine.statement<{ sequence: number }>()((query, slot) =>
      query.selectFrom('audit').select('time_high_ms').where('sequence', '=', slot('sequence')),
    ),
  };
}

const toRecord = (row: AuditTable): AuditRecord => ({
  sequence: row.sequence,
  timeMs: row.time_ms,
  actor: row.actor,
  kind: row.kind,
  subject: row.subject,
  canonical: bytes(row.canonical),
  sha256: hex(row.sha256),
});
