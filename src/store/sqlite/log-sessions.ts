import { sealBytes } from '../../domain/index.ts';
import type { CommittedRecord, LogSeal, LogSession } from '../ports/index.ts';
import type { Schema } from '../schema.ts';
import { bytes } from './codec.ts';
import type { Engine } from './engine.ts';

type Row<Table extends 'log_sessions' | 'log_seals'> = {
  [Column in keyof Schema[Table]]: Schema[Table][Column];
};

export interface SessionRows {
  list(): readonly LogSession[];
  any(): boolean;
  put(session: LogSession): void;
}

export function createSessionRows(engine: Engine): SessionRows {
  const all = engine.statement<Record<never, never>>()((query) =>
    query.selectFrom('log_sessions').selectAll().orderBy('started_at_ms').orderBy('id'),
  );
  const any = engine.statement<Record<never, never>>()((query) =>
    query.selectFrom('log_sessions').select('id').limit(1),
  );
  const put = engine.statement<Row<'log_sessions'>>()((query, slot) =>
    query.insertInto('log_sessions').values({
      id: slot('id'),
      spki_der: slot('spki_der'),
      signature: slot('signature'),
      signer: slot('signer'),
      started_at_ms: slot('started_at_ms'),
    }),
  );
  return {
    list: () => all.all({}).map(toSession),
    any: () => any.get({}) !== undefined,
    put: ({ id, spkiDer, signature, signer, startedAtMs }) =>
      void put.run({ id, spki_der: spkiDer, signature, signer, started_at_ms: startedAtMs }),
  };
}

export interface SealingSession {
  readonly id: string;
  readonly seal: (bytes: Buffer) => Buffer;
  /** The last record under its last seal, 0 before its first. */
  readonly previousSequence: number;
}

export interface SealRows {
  /** The seals that cover a record of the range, ordered by their last record. */
  over(firstSequence: number, lastSequence: number): readonly LogSeal[];
  /**
   * Writes one seal for each run of consecutive records. Each seal names the last record under the
   * seal before. Returns the last record under the last seal.
   */
  put(session: SealingSession, records: readonly CommittedRecord[]): number;
  drop(throughSequence: number): void;
}

export function createSealRows(engine: Engine): SealRows {
  const put = engine.statement<Row<'log_seals'>>()((query, slot) => {
    const values = {
      first_sequence: slot('first_sequence'),
      session_id: slot('session_id'),
      signature: slot('signature'),
      previous_sequence: slot('previous_sequence'),
    };
    return query
      .insertInto('log_seals')
      .values({ last_sequence: slot('last_sequence'), ...values })
      .onConflict((conflict) => conflict.column('last_sequence').doUpdateSet(values));
  });
  const over = engine.statement<{ first: number; last: number }>()((query, slot) =>
    query
      .selectFrom('log_seals')
      .selectAll()
      .where('last_sequence', '>=', slot('first'))
      .where('first_sequence', '<=', slot('last'))
      .orderBy('last_sequence'),
  );
  const drop = engine.statement<{ sequence: number }>()((query, slot) =>
    query.deleteFrom('log_seals').where('last_sequence', '<=', slot('sequence')),
  );
  return {
    over: (first, last) => over.all({ first, last }).map(toSeal),
    put: ({ id, seal, previousSequence }, records) => {
      let previous = previousSequence;
      for (const run of consecutive(records)) {
        const [first, last] = [run[0] as CommittedRecord, run.at(-1) as CommittedRecord];
        const bounds = {
          sessionId: id,
          firstSequence: first.sequence,
          lastSequence: last.sequence,
          previousSequence: previous,
        };
        const hashes = run.map(({ leafHash }) => leafHash);
        put.run({
          last_sequence: bounds.lastSequence,
          first_sequence: bounds.firstSequence,
          session_id: id,
          signature: seal(sealBytes(bounds, hashes)),
          previous_sequence: previous,
        });
        previous = bounds.lastSequence;
      }
      return previous;
    },
    drop: (sequence) => void drop.run({ sequence }),
  };
}

function consecutive(written: readonly CommittedRecord[]): readonly (readonly CommittedRecord[])[] {
  const all: CommittedRecord[][] = [];
  for (const record of written) {
    const open = all.at(-1);
    if (open?.at(-1)?.sequence === record.sequence - 1) open.push(record);
    else all.push([record]);
  }
  return all;
}

const toSession = (row: Schema['log_sessions']): LogSession => ({
  id: row.id,
  spkiDer: bytes(row.spki_der),
  signature: bytes(row.signature),
  signer: row.signer,
  startedAtMs: row.started_at_ms,
});
const toSeal = (row: Schema['log_seals']): LogSeal => ({
  sessionId: row.session_id,
  firstSequence: row.first_sequence,
  lastSequence: row.last_sequence,
  previousSequence: row.previous_sequence,
  signature: bytes(row.signature),
});
