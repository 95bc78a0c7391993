import { leafHash } from '../../domain/index.ts';
import type { LogRow, UnsequencedRecords } from '../ports/index.ts';
import { bytes } from './codec.ts';
import type { Engine } from './engine.ts';
import type { LogRuns } from './log-runs.ts';
import type { SealRows } from './log-sessions.ts';
import type { TileRows } from './log-tiles.ts';

export interface RecordRows {
  head(): { readonly size: number; readonly sequence: number };
  setHead(head: { readonly size: number; readonly sequence: number }): void;
  placed(after: number, limit: number): readonly LogRow[];
  /** The records after the head, in order. */
  unsequenced(limit: number): UnsequencedRecords['records'];
  firstWrong(): { readonly index: number; readonly sequence: number } | undefined;
}

interface RecordDependencies {
  readonly runs: LogRuns;
  readonly seals: SealRows;
  readonly tiles: TileRows;
}

/** The records, and how far they are in the tree. */
export function createRecordRows(engine: Engine, dependencies: RecordDependencies): RecordRows {
  const { runs, seals } = dependencies;
  const { headRow, setHead, behind } = recordStatements(engine);
  const head = (): { size: number; sequence: number } => {
    const { size, sequence } = headRow.get({}) as { size: number; sequence: number };
    return { size, sequence };
  };
  return {
    head,
    setHead: ({ size, sequence }) => void setHead.run({ size, sequence }),
    placed: (after, limit) => {
      const rows = behind.all({ after, limit });
      const place = runs.walker(rows[0]?.sequence ?? 0, rows.at(-1)?.sequence ?? 0);
      return rows.map(({ sequence, canonical }) => ({
        sequence,
        canonical: bytes(canonical),
        index: place(sequence),
      }));
    },
    unsequenced: (limit) => {
      const rows = behind.all({ after: head().sequence, limit });
      const over = seals.over(rows[0]?.sequence ?? 0, rows.at(-1)?.sequence ?? 0);
      let at = 0;
      return rows.map(({ sequence, canonical }) => {
        while (at < over.length && (over[at]?.lastSequence ?? 0) < sequence) at += 1;
        const seal = over[at];
        const covers = seal !== undefined && seal.firstSequence <= sequence;
        return { sequence, canonical: bytes(canonical), seal: covers ? seal : undefined };
      });
    },
    firstWrong: () =>
      firstWrong(dependencies, head().size, (after) => behind.all({ after, limit: 1 })[0]),
  };
}

function recordStatements(engine: Engine) {
  return {
    headRow: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('log_head').select(['size', 'sequence']),
    ),
    setHead: engine.statement<{ size: number; sequence: number }>()((query, slot) =>
      query.updateTable('log_head').set({ size: slot('size'), sequence: slot('sequence') }),
    ),
    behind: engine.statement<{ after: number; limit: number }>()((query, slot) =>
      query
        .selectFrom('audit')
        .select(['sequence', 'canonical'])
        .where('sequence', '>', slot('after'))
        .orderBy('sequence')
        .limit(slot('limit')),
    ),
  };
}

function firstWrong(
  { runs, tiles }: RecordDependencies,
  size: number,
  next: (
    after: number,
  ) => { readonly sequence: number; readonly canonical: Uint8Array } | undefined,
): { readonly index: number; readonly sequence: number } | undefined {
  for (const { index, sequence } of runs.places(size)) {
    const row = next(sequence - 1);
    const expected = tiles
      .get(0, Math.floor(index / 256))
      ?.subarray((index % 256) * 32, (index % 256) * 32 + 32);
    if (
      row?.sequence !== sequence ||
      expected === undefined ||
      !leafHash(bytes(row.canonical)).equals(expected)
    )
      return { index, sequence };
  }
  return undefined;
}
