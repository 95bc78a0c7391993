import type { LogTile } from '../ports/index.ts';
import type { Schema } from '../schema.ts';
import { bytes } from './codec.ts';
import type { Engine } from './engine.ts';

export interface TileRows {
  get(level: number, index: number): Buffer | undefined;
  after(
    place: { readonly level: number; readonly index: number } | undefined,
    limit: number,
  ): readonly LogTile[];
  put(tile: LogTile): void;
}

/** The hashes of the tree. */
export function createTileRows(engine: Engine): TileRows {
  const tile = engine.statement<{ level: number; position: number }>()((query, slot) =>
    query
      .selectFrom('log_tiles')
      .select('hashes')
      .where('level', '=', slot('level'))
      .where('position', '=', slot('position')),
  );
  const put = engine.statement<{ level: number; position: number; hashes: Buffer }>()(
    (query, slot) =>
      query
        .insertInto('log_tiles')
        .values({ level: slot('level'), position: slot('position'), hashes: slot('hashes') })
        .onConflict((conflict) =>
          conflict.columns(['level', 'position']).doUpdateSet({ hashes: slot('hashes') }),
        ),
  );
  const after = engine.statement<{ level: number; position: number; limit: number }>()(
    (query, slot) =>
      query
        .selectFrom('log_tiles')
        .selectAll()
        .where((eb) =>
          eb(
            eb.refTuple('level', 'position'),
            '>',
            eb.tuple(slot('level'), slot('position')) as never,
          ),
        )
        .orderBy('level')
        .orderBy('position')
        .limit(slot('limit')),
  );
  return {
    get: (level, index) => {
      const row = tile.get({ level, position: index });
      return row === undefined ? undefined : bytes(row.hashes);
    },
    after: (place, limit) =>
      after.all({ level: place?.level ?? -1, position: place?.index ?? 0, limit }).map(toTile),
    put: ({ level, index, hashes }) => void put.run({ level, position: index, hashes }),
  };
}

const toTile = (row: Schema['log_tiles']): LogTile => ({
  level: row.level,
  index: row.position,
  hashes: bytes(row.hashes),
});
