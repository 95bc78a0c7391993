import { PkiError } from '../../common/errors/index.ts';
import type { CommittedRecord, LogStep, LogStore } from '../ports/index.ts';
import type { Engine } from './engine.ts';
import type { FenceCheck } from './leases.ts';
import { createCheckpointRows } from './log-checkpoints.ts';
import { createRecordRows } from './log-records.ts';
import { createLogRuns } from './log-runs.ts';
import { createSealRows, createSessionRows, type SealingSession } from './log-sessions.ts';
import { createSnapshotRows } from './log-snapshots.ts';
import { createTileRows } from './log-tiles.ts';

/** The rows of the tree, its checkpoints, and the seals of records that are not in it yet. */
function logRows(engine: Engine) {
  const runs = createLogRuns(engine);
  const seals = createSealRows(engine);
  const tiles = createTileRows(engine);
  return {
    runs,
    seals,
    tiles,
    checkpoints: createCheckpointRows(engine),
    records: createRecordRows(engine, { runs, seals, tiles }),
    sessions: createSessionRows(engine),
    snapshots: createSnapshotRows(engine),
  };
}
type LogRows = ReturnType<typeof logRows>;

/** `sealing` is called inside each transaction with its records. Owner of the session's key. */
export function createLog(
  engine: Engine,
  checkFence: FenceCheck,
): {
  readonly sealing: (written: readonly CommittedRecord[]) => void;
  readonly store: LogStore;
} {
  const rows = logRows(engine);
  const { runs, seals, tiles, checkpoints, records, sessions } = rows;
  let session: SealingSession | undefined;
  let sealedThrough: number | undefined;
  engine.afterCommit(() => {
    if (session !== undefined && sealedThrough !== undefined)
      session = { ...session, previousSequence: sealedThrough };
    sealedThrough = undefined;
  });
  // a seal that was rolled back is no link of the chain
  engine.onRollback(() => (sealedThrough = undefined));
  return {
    sealing: (written) => {
      if (session !== undefined) sealedThrough = seals.put(session, written);
    },
    store: {
      head: () => engine.read(() => records.head()),
      records: (after, limit) => engine.look(() => records.placed(after, limit)),
      sequenceAt: (index) => engine.read(() => runs.sequenceAt(index)),
      firstWrong: () => engine.read(() => records.firstWrong()),
      tile: (level, index) => engine.read(() => tiles.get(level, index)),
      tiles: (after, limit) => engine.read(() => tiles.after(after, limit)),
      beginSession: (begun, seal) =>
        engine.write(() => {
          sessions.put(begun);
          session = { id: begun.id, seal, previousSequence: 0 };
        }),
      sessions: () => engine.read(() => sessions.list()),
      unsequenced: (limit) =>
        engine.read(() => ({
          open: !sessions.any() || checkpoints.latest() === undefined,
          records: records.unsequenced(limit),
        })),
      extend: (step, lease) =>
        engine.write(() => {
          checkFence(lease);
          extend(rows, step);
        }),
      latestCheckpoint: () => engine.read(() => checkpoints.latest()),
      addCosignatures: (size, note) => engine.write(() => checkpoints.addCosignatures(size, note)),
      checkpoints: (afterSize, limit) => engine.read(() => checkpoints.after(afterSize, limit)),
      indexesOf: (sequences) => engine.read(() => sequences.map(runs.indexOf)),
      excluded: (afterSequence, limit) => engine.read(() => runs.excluded(afterSequence, limit)),
      ...snapshotStore(engine, rows),
    },
  };
}

type SnapshotMethods = Pick<
  LogStore,
  | 'snapshots'
  | 'snapshotPart'
  | 'putSnapshotPart'
  | 'putSnapshot'
  | 'dropSnapshots'
  | 'sweepSnapshotParts'
>;

const snapshotStore = (engine: Engine, { snapshots }: LogRows): SnapshotMethods => ({
  snapshots: () => engine.read(() => snapshots.list()),
  snapshotPart: (size, position) => engine.read(() => snapshots.part(size, position)),
  putSnapshotPart: (size, position, content) =>
    engine.write(() => snapshots.putPart(size, position, content)),
  putSnapshot: (snapshot) => engine.write(() => snapshots.put(snapshot)),
  dropSnapshots: () => engine.write(() => snapshots.drop()),
  sweepSnapshotParts: () => engine.write(() => snapshots.sweep()),
});

function extend({ runs, seals, tiles, checkpoints, records }: LogRows, step: LogStep): void {
  const before = records.head();
  if (before.size !== step.fromSize)
    throw new PkiError('CONFLICT', `the tree has ${before.size} records, not ${step.fromSize}`);
  runs.add(step.fromSize, step.taken);
  runs.exclude(step.excluded, Math.floor(step.checkpoint.timeMs / 1000));
  for (const tile of step.tiles) tiles.put(tile);
  records.setHead({ size: step.fromSize + step.taken.length, sequence: step.sequence });
  checkpoints.put(step.checkpoint);
  // records under a checkpoint need no seal any more
  seals.drop(step.sequence);
}
