import type { LogSnapshot } from '../ports/index.ts';
import type { Schema } from '../schema.ts';
import { bytes } from './codec.ts';
import type { Engine } from './engine.ts';

type None = Record<never, never>;
type Row = Schema['log_snapshots'];

/** A part has at most a quarter of a megabyte. This many are removed in one transaction. */
const sweepAtOnce = 4;

/** The rows of snapshots. Nobody has verified them. */
export interface SnapshotRows {
  /** Newest first. */
  list(): readonly LogSnapshot[];
  part(size: number, position: number): Buffer | undefined;
  putPart(size: number, position: number, content: Buffer): void;
  /** Keeps this one and the newest smaller one. */
  put(snapshot: LogSnapshot): void;
  drop(): void;
  /** Whether there may be more. */
  sweep(): boolean;
}

export function createSnapshotRows(engine: Engine): SnapshotRows {
  const { all, partOf, putPart, put, remove, removeAll, orphans, removePart } =
    snapshotRowStatements(engine);
  return {
    list: () =>
      all.all({}).map((row) => ({
        size: row.size,
        root: bytes(row.root),
        sequence: row.sequence,
        parts: row.parts,
        digest: bytes(row.digest),
        signature: bytes(row.signature),
        timeMs: row.time_ms,
      })),
    part: (size, position) => {
      const row = partOf.get({ size, position });
      return row === undefined ? undefined : bytes(row.content);
    },
    putPart: (size, position, content) => void putPart.run({ size, position, content }),
    put: ({ timeMs, ...snapshot }) => {
      put.run({ ...snapshot, time_ms: timeMs });
      const before = all.all({}).find(({ size }) => size < snapshot.size)?.size;
      for (const { size } of all.all({}))
        if (size !== snapshot.size && size !== before) remove.run({ size });
    },
    drop: () => void removeAll.run({}),
    sweep: () => {
      const orphanParts = orphans.all({});
      for (const { size, position } of orphanParts) removePart.run({ size, position });
      return orphanParts.length === sweepAtOnce;
    },
  };
}

function snapshotRowStatements(engine: Engine) {
  return {
    all: engine.statement<None>()((query) =>
      query.selectFrom('log_snapshots').selectAll().orderBy('size', 'desc'),
    ),
    partOf: engine.statement<{ size: number; position: number }>()((query, slot) =>
      query
        .selectFrom('log_snapshot_parts')
        .select('content')
        .where('size', '=', slot('size'))
        .where('position', '=', slot('position')),
    ),
    putPart: engine.statement<{ size: number; position: number; content: Buffer }>()(
      (query, slot) =>
        query
          .insertInto('log_snapshot_parts')
          .values({ size: slot('size'), position: slot('position'), content: slot('content') })
          .onConflict((conflict) =>
            conflict.columns(['size', 'position']).doUpdateSet({ content: slot('content') }),
          ),
    ),
    put: engine.statement<{ [Column in keyof Row]: Row[Column] }>()((query, slot) => {
      const values = {
        root: slot('root'),
        sequence: slot('sequence'),
        parts: slot('parts'),
        digest: slot('digest'),
        signature: slot('signature'),
        time_ms: slot('time_ms'),
      };
      return query
        .insertInto('log_snapshots')
        .values({ size: slot('size'), ...values })
        .onConflict((conflict) => conflict.column('size').doUpdateSet(values));
    }),
    remove: engine.statement<{ size: number }>()((query, slot) =>
      query.deleteFrom('log_snapshots').where('size', '=', slot('size')),
    ),
    removeAll: engine.statement<None>()((query) => query.deleteFrom('log_snapshots')),
    orphans: engine.statement<None>()((query) =>
      query
        .selectFrom('log_snapshot_parts')
        .select(['size', 'position'])
        .where('size', 'not in', (eb) => eb.selectFrom('log_snapshots').select('size'))
        .limit(sweepAtOnce),
    ),
    removePart: engine.statement<{ size: number; position: number }>()((query, slot) =>
      query
        .deleteFrom('log_snapshot_parts')
        .where('size', '=', slot('size'))
        .where('position', '=', slot('position')),
    ),
  };
}
