import type { LogStep } from '../ports/index.ts';
import type { Schema } from '../schema.ts';
import type { Engine } from './engine.ts';

type None = Record<never, never>;

export type LogRuns = ReturnType<typeof createLogRuns>;

/**
 * The index of each record in the tree: runs of consecutive sequences, and the records that stayed
 * out.
 */
export function createLogRuns(engine: Engine) {
  const { lastRun, allRuns, runOf, runsWithin, runAt, excludedAfter } = logRunReads(engine);
  const { addRun, grow, exclude } = logRunWrites(engine);
  return {
    add(firstIndex: number, sequences: readonly number[]): void {
      let open = lastRun.get({});
      for (const [offset, sequence] of sequences.entries()) {
        if (open !== undefined && open.first_sequence + open.length === sequence)
          open = { ...open, length: open.length + 1 };
        else {
          if (open !== undefined) grow.run({ first_index: open.first_index, length: open.length });
          open = { first_index: firstIndex + offset, first_sequence: sequence, length: 1 };
          addRun.run(open);
        }
      }
      if (open !== undefined) grow.run({ first_index: open.first_index, length: open.length });
    },
    exclude(excluded: LogStep['excluded'], foundAt: number): void {
      for (const { sequence, reason } of excluded)
        exclude.run({ sequence, reason, found_at: foundAt });
    },
    excluded: (
      afterSequence: number,
      limit: number,
    ): readonly { readonly sequence: number; readonly reason: string }[] =>
      excludedAfter
        .all({ sequence: afterSequence, limit })
        .map(({ sequence, reason }) => ({ sequence, reason })),
    indexOf(sequence: number): number | undefined {
      const run = runOf.get({ sequence });
      return run !== undefined && sequence < run.first_sequence + run.length
        ? run.first_index + sequence - run.first_sequence
        : undefined;
    },
    sequenceAt(index: number): number | undefined {
      const run = runAt.get({ index });
      return run !== undefined && index < run.first_index + run.length
        ? run.first_sequence + index - run.first_index
        : undefined;
    },
    lastSequence(): number | undefined {
      const run = lastRun.get({});
      return run === undefined ? undefined : run.first_sequence + run.length - 1;
    },
    /** Finds indexes of sequences of this range. The sequences must be ascending. */
    walker(first: number, last: number): (sequence: number) => number | undefined {
      const before = runOf.get({ sequence: first });
      const runs = [...(before === undefined ? [] : [before]), ...runsWithin.all({ first, last })];
      return placesBy(runs);
    },
    *places(size: number): Generator<{ readonly index: number; readonly sequence: number }> {
      for (const { first_index: first, first_sequence: sequence, length } of allRuns.all({})) {
        for (let offset = 0; offset < length && first + offset < size; offset += 1)
          yield { index: first + offset, sequence: sequence + offset };
      }
    },
  };
}

/** For ascending sequences. */
function placesBy(runs: readonly Schema['log_runs'][]): (sequence: number) => number | undefined {
  let at = 0;
  return (sequence) => {
    while (
      at < runs.length &&
      sequence >= (runs[at]?.first_sequence ?? 0) + (runs[at]?.length ?? 0)
    )
      at += 1;
    const run = runs[at];
    return run !== undefined && sequence >= run.first_sequence
      ? run.first_index + sequence - run.first_sequence
      : undefined;
  };
}

function logRunReads(engine: Engine) {
  return {
    lastRun: engine.statement<None>()((query) =>
      query.selectFrom('log_runs').selectAll().orderBy('first_index', 'desc').limit(1),
    ),
    allRuns: engine.statement<None>()((query) =>
      query.selectFrom('log_runs').selectAll().orderBy('first_index'),
    ),
    runOf: engine.statement<{ sequence: number }>()((query, slot) =>
      query
        .selectFrom('log_runs')
        .selectAll()
        .where('first_sequence', '<=', slot('sequence'))
        .orderBy('first_sequence', 'desc')
        .limit(1),
    ),
    runsWithin: engine.statement<{ first: number; last: number }>()((query, slot) =>
      query
        .selectFrom('log_runs')
        .selectAll()
        .where('first_sequence', '>', slot('first'))
        .where('first_sequence', '<=', slot('last'))
        .orderBy('first_sequence'),
    ),
    runAt: engine.statement<{ index: number }>()((query, slot) =>
      query
        .selectFrom('log_runs')
        .selectAll()
        .where('first_index', '<=', slot('index'))
        .orderBy('first_index', 'desc')
        .limit(1),
    ),
    excludedAfter: engine.statement<{ sequence: number; limit: number }>()((query, slot) =>
      query
        .selectFrom('log_excluded')
        .select(['sequence', 'reason'])
        .where('sequence', '>', slot('sequence'))
        .orderBy('sequence')
        .limit(slot('limit')),
    ),
  };
}

function logRunWrites(engine: Engine) {
  return {
    addRun: engine.statement<{
      first_index: number;
      first_sequence: number;
      length: number;
    }>()((query, slot) =>
      query.insertInto('log_runs').values({
        first_index: slot('first_index'),
        first_sequence: slot('first_sequence'),
        length: slot('length'),
      }),
    ),
    grow: engine.statement<{ first_index: number; length: number }>()((query, slot) =>
      query
        .updateTable('log_runs')
        .set({ length: slot('length') })
        .where('first_index', '=', slot('first_index')),
    ),
    exclude: engine.statement<{ sequence: number; reason: string; found_at: number }>()(
      (query, slot) =>
        query
          .insertInto('log_excluded')
          .values({
            sequence: slot('sequence'),
            reason: slot('reason'),
            found_at: slot('found_at'),
          })
          .onConflict((conflict) => conflict.doNothing()),
    ),
  };
}
