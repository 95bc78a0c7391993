import { mergeNotes } from '../../common/tlog/index.ts';
import type { StoredCheckpoint } from '../ports/index.ts';
import type { Schema } from '../schema.ts';
import { bytes } from './codec.ts';
import type { Engine } from './engine.ts';

export interface CheckpointRows {
  latest(): StoredCheckpoint | undefined;
  after(size: number, limit: number): readonly StoredCheckpoint[];
  /** Keeps the root of a checkpoint with the same size. */
  put(checkpoint: StoredCheckpoint): void;
  addCosignatures(size: number, note: string): void;
}

export function createCheckpointRows(engine: Engine): CheckpointRows {
  const put = engine.statement<{ size: number; root: Buffer; note: string; time_ms: number }>()(
    (query, slot) =>
      query
        .insertInto('log_checkpoints')
        .values({
          size: slot('size'),
          root: slot('root'),
          note: slot('note'),
          time_ms: slot('time_ms'),
        })
        .onConflict((conflict) => conflict.column('size').doUpdateSet({ note: slot('note') })),
  );
  const last = engine.statement<Record<never, never>>()((query) =>
    query.selectFrom('log_checkpoints').selectAll().orderBy('size', 'desc').limit(1),
  );
  const after = engine.statement<{ size: number; limit: number }>()((query, slot) =>
    query
      .selectFrom('log_checkpoints')
      .selectAll()
      .where('size', '>', slot('size'))
      .orderBy('size')
      .limit(slot('limit')),
  );
  return {
    latest: () => {
      const row = last.get({});
      return row === undefined ? undefined : toCheckpoint(row);
    },
    after: (size, limit) => after.all({ size, limit }).map(toCheckpoint),
    put: ({ timeMs, ...checkpoint }) => void put.run({ ...checkpoint, time_ms: timeMs }),
    addCosignatures: (size, note) => {
      const row = after.all({ size: size - 1, limit: 1 })[0];
      const merged = row?.size === size ? mergeNotes(row.note, note) : undefined;
      if (row !== undefined && merged !== undefined)
        put.run({ ...row, root: bytes(row.root), note: merged });
    },
  };
}

const toCheckpoint = (row: Schema['log_checkpoints']): StoredCheckpoint => ({
  size: row.size,
  root: bytes(row.root),
  note: row.note,
  timeMs: row.time_ms,
});
