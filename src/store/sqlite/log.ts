import { PkiError } from '../../common/errors/index.ts';
import type { Clock, Logger } from '../../common/runtime/index.ts';
import { mergeNotes } from '../../common/tlog/index.ts';
import { leafHash, sealBytes } from '../../domain/index.ts';
import type {
  LedgerCopy,
  LogSeal,
  LogSession,
  LogStep,
  LogStore,
  LogTile,
  PendingRecord,
  StoredCheckpoint,
} from '../ports/index.ts';
import type { Schema } from '../schema.ts';
import type { AuditHooks, WrittenRecord } from './audit.ts';
import { bytes } from './codec.ts';
import type { Engine } from './engine.ts';
import { leafParts, objectParts } from './ledger-parts.ts';
import type { FenceCheck } from './leases.ts';
import { LogLoad } from './log-load.ts';
import { apply, learn, type Lesson, type LogMemory } from './log-memory.ts';
import { createLogRuns } from './log-runs.ts';
import { createSnapshotRows } from './log-snapshots.ts';

type None = Record<never, never>;

export interface LogParts {
  readonly memory: LogMemory;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The memory follows the log; without it no snapshot is made of it. */
  readonly complete: boolean;
}

/**
 * The tree, its checkpoints, and what vouches for the records that are not in it yet. Owner of the
 * session's key.
 */
export function createLog(
  engine: Engine,
  { memory, clock, logger, complete }: LogParts,
): {
  readonly hooks: AuditHooks;
  readonly store: (checkFence: FenceCheck) => LogStore;
  readonly load: () => Promise<void>;
} {
  const head = engine.statement<None>()((query) =>
    query.selectFrom('log_head').select(['size', 'sequence']),
  );
  const setHead = engine.statement<{ size: number; sequence: number }>()((query, slot) =>
    query.updateTable('log_head').set({ size: slot('size'), sequence: slot('sequence') }),
  );
  const records = engine.statement<{ after: number; limit: number }>()((query, slot) =>
    query
      .selectFrom('audit')
      .select(['sequence', 'canonical'])
      .where('sequence', '>', slot('after'))
      .orderBy('sequence')
      .limit(slot('limit')),
  );
  const tile = engine.statement<{ level: number; position: number }>()((query, slot) =>
    query
      .selectFrom('log_tiles')
      .select('hashes')
      .where('level', '=', slot('level'))
      .where('position', '=', slot('position')),
  );
  const putTile = engine.statement<{ level: number; position: number; hashes: Buffer }>()(
    (query, slot) =>
      query
        .insertInto('log_tiles')
        .values({ level: slot('level'), position: slot('position'), hashes: slot('hashes') })
        .onConflict((conflict) =>
          conflict.columns(['level', 'position']).doUpdateSet({ hashes: slot('hashes') }),
        ),
  );
  const tilesAfter = engine.statement<{ level: number; position: number; limit: number }>()(
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
  const putCheckpoint = engine.statement<{
    size: number;
    root: Buffer;
    note: string;
    time_ms: number;
  }>()((query, slot) =>
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
  const lastCheckpoint = engine.statement<None>()((query) =>
    query.selectFrom('log_checkpoints').selectAll().orderBy('size', 'desc').limit(1),
  );
  const checkpointsAfter = engine.statement<{ size: number; limit: number }>()((query, slot) =>
    query
      .selectFrom('log_checkpoints')
      .selectAll()
      .where('size', '>', slot('size'))
      .orderBy('size')
      .limit(slot('limit')),
  );
  const sessions = engine.statement<None>()((query) =>
    query.selectFrom('log_sessions').selectAll().orderBy('started_at_ms').orderBy('id'),
  );
  const putSession = engine.statement<{
    id: string;
    spki_der: Buffer;
    signature: Buffer;
    signer: string;
    started_at_ms: number;
  }>()((query, slot) =>
    query.insertInto('log_sessions').values({
      id: slot('id'),
      spki_der: slot('spki_der'),
      signature: slot('signature'),
      signer: slot('signer'),
      started_at_ms: slot('started_at_ms'),
    }),
  );
  const putSeal = engine.statement<{
    last_sequence: number;
    first_sequence: number;
    session_id: string;
    signature: Buffer;
  }>()((query, slot) =>
    query
      .insertInto('log_seals')
      .values({
        last_sequence: slot('last_sequence'),
        first_sequence: slot('first_sequence'),
        session_id: slot('session_id'),
        signature: slot('signature'),
      })
      .onConflict((conflict) =>
        conflict.column('last_sequence').doUpdateSet({
          first_sequence: slot('first_sequence'),
          session_id: slot('session_id'),
          signature: slot('signature'),
        }),
      ),
  );
  const sealOf = engine.statement<{ sequence: number }>()((query, slot) =>
    query
      .selectFrom('log_seals')
      .selectAll()
      .where('last_sequence', '>=', slot('sequence'))
      .where('first_sequence', '<=', slot('sequence'))
      .orderBy('last_sequence')
      .limit(1),
  );
  const dropSeals = engine.statement<{ sequence: number }>()((query, slot) =>
    query.deleteFrom('log_seals').where('last_sequence', '<=', slot('sequence')),
  );
  const anySession = engine.statement<None>()((query) =>
    query.selectFrom('log_sessions').select('id').limit(1),
  );
  const runs = createLogRuns(engine);

  /** Records of this process that are not in the tree yet. */
  const own = new Map<number, { readonly hash: Buffer; readonly lesson: Lesson }>();
  /** Hashes of those of other processes, as they were judged. */
  const judged = new Map<number, Buffer>();
  const listeners = new Set<() => void>();
  let session: { readonly id: string; readonly seal: (bytes: Buffer) => Buffer } | undefined;
  /**
   * Whether the memory says what the records in the tree and those of `own` say, and nothing else.
   */
  let exact = complete;
  const snapshots = createSnapshotRows(engine);
  const source = {
    records: (after: number, limit: number) =>
      records
        .all({ after, limit })
        .map(({ sequence, canonical }) => ({ sequence, canonical: bytes(canonical) })),
    tile: (level: number, position: number) => {
      const row = tile.get({ level, position });
      return row === undefined ? undefined : bytes(row.hashes);
    },
    runs,
    memory,
    clock,
    look: <T>(work: () => T) => engine.look(work),
  };
  const loading = new LogLoad({
    ...source,
    snapshots,
    logger,
    size: () => (head.get({}) as { size: number }).size,
    newestCheckpoint: () => {
      const row = lastCheckpoint.get({});
      return row === undefined ? undefined : { size: row.size, root: bytes(row.root) };
    },
    own: () => [...own].map(([sequence, { lesson }]) => [sequence, lesson] as const),
  });

  const sealing = (written: readonly WrittenRecord[]): void => {
    if (session === undefined) return;
    for (const run of consecutive(written)) {
      const [first, last] = [run[0] as WrittenRecord, run.at(-1) as WrittenRecord];
      const bounds = {
        sessionId: session.id,
        firstSequence: first.sequence,
        lastSequence: last.sequence,
      };
      const signature = session.seal(
        sealBytes(
          bounds,
          run.map((each) => each.leafHash),
        ),
      );
      putSeal.run({
        last_sequence: bounds.lastSequence,
        first_sequence: bounds.firstSequence,
        session_id: bounds.sessionId,
        signature,
      });
    }
  };

  const committed = (written: readonly WrittenRecord[]): void => {
    for (const { sequence, leafHash: hash, object, issued } of written) {
      own.set(sequence, { hash, lesson: { object, issued } });
      apply(memory, { object, issued }, sequence);
    }
    for (const listener of listeners) listener();
  };

  const firstWrong = ():
    | { readonly index: number; readonly sequence: number | undefined }
    | undefined => {
    const { size } = head.get({}) as { size: number };
    for (const { index, sequence } of runs.places(size)) {
      const row = records.all({ after: sequence - 1, limit: 1 })[0];
      const stored = tile.get({ level: 0, position: Math.floor(index / 256) })?.hashes;
      const expected =
        stored === undefined
          ? undefined
          : bytes(stored).subarray((index % 256) * 32, (index % 256) * 32 + 32);
      if (
        row?.sequence !== sequence ||
        expected === undefined ||
        !leafHash(bytes(row.canonical)).equals(expected)
      )
        return { index, sequence };
    }
    return undefined;
  };

  const originOf = (
    sequence: number,
    hash: Buffer,
    sealed: LogSeal | undefined,
  ): PendingRecord['origin'] => {
    const mine = own.get(sequence);
    if (mine !== undefined) return { kind: mine.hash.equals(hash) ? 'own' : 'foreign' };
    if (sealed !== undefined) return { kind: 'sealed', seal: sealed };
    return {
      kind:
        anySession.get({}) === undefined || lastCheckpoint.get({}) === undefined
          ? 'open'
          : 'foreign',
    };
  };

  const pending = (limit: number): readonly PendingRecord[] => {
    let seal: LogSeal | undefined;
    const rows = records.all({ after: (head.get({}) as { sequence: number }).sequence, limit });
    const present = rows.map(({ sequence, canonical }): PendingRecord => {
      if (!own.has(sequence) && (seal === undefined || seal.lastSequence < sequence))
        seal = toSeal(sealOf.get({ sequence }));
      const hash = leafHash(bytes(canonical));
      if (!own.has(sequence)) judged.set(sequence, hash);
      const covers =
        seal !== undefined && seal.firstSequence <= sequence && seal.lastSequence >= sequence;
      return {
        sequence,
        leafHash: hash,
        origin: originOf(sequence, hash, covers ? seal : undefined),
      };
    });
    const found = new Set(rows.map(({ sequence }) => sequence));
    const until = rows.length < limit ? Infinity : (rows.at(-1)?.sequence ?? 0);
    const gone = [...own]
      .filter(([sequence]) => sequence <= until && !found.has(sequence))
      .map(
        ([sequence, { hash }]): PendingRecord => ({
          sequence,
          leafHash: hash,
          origin: { kind: 'gone' },
        }),
      );
    return gone.length === 0
      ? present
      : [...present, ...gone].sort((one, other) => one.sequence - other.sequence);
  };

  const extend = (step: LogStep): void => {
    const before = head.get({}) as { size: number; sequence: number };
    if (before.size !== step.fromSize)
      throw new PkiError('CONFLICT', `the tree has ${before.size} records, not ${step.fromSize}`);
    runs.add(step.fromSize, step.taken);
    runs.exclude(step.excluded, Math.floor(step.checkpoint.timeMs / 1000));
    for (const { level, index, hashes } of step.tiles)
      putTile.run({ level, position: index, hashes });
    setHead.run({ size: step.fromSize + step.taken.length, sequence: step.sequence });
    const { size, root, note, timeMs } = step.checkpoint;
    putCheckpoint.run({ size, root, note, time_ms: timeMs });
    // what is under a checkpoint needs no other witness
    dropSeals.run({ sequence: step.sequence });
  };

  /**
   * Records of other processes count from here on; those of our own have counted since their
   * commit.
   */
  const applyTaken = (sequences: readonly number[]): void => {
    for (const sequence of sequences) {
      if (own.has(sequence)) continue;
      const row = records.all({ after: sequence - 1, limit: 1 })[0];
      const canonical = row?.sequence === sequence ? bytes(row.canonical) : undefined;
      // what was judged, and not what stands there since
      if (canonical === undefined || judged.get(sequence)?.equals(leafHash(canonical)) !== true) {
        exact = false;
        continue;
      }
      learn(memory, canonical, sequence, clock.now());
    }
  };

  const copyLedger = (): LedgerCopy | undefined => {
    if (!exact) return undefined;
    const [objects, leaves] = [memory.ledger.copy(), memory.issued.copy()];
    let pending: number | undefined;
    for (const sequence of own.keys()) pending = Math.max(pending ?? 0, sequence);
    function* parts(): Generator<Buffer> {
      yield* objectParts(objects);
      yield* leafParts(leaves);
    }
    return { pending, objects: objects.objects.length, good: () => exact, parts };
  };

  const store = (checkFence: FenceCheck): LogStore => ({
    head: () =>
      engine.read(() => {
        const { size, sequence } = head.get({}) as { size: number; sequence: number };
        return { size, sequence };
      }),
    basis: () => engine.read(() => loading.basis),
    withoutBasis: (why) => loading.withoutBasis(why),
    review: () => loading.review(),
    copyLedger: () => engine.look(copyLedger),
    putSnapshotPart: (size, position, content) =>
      engine.write(() => snapshots.putPart(size, position, content)),
    putSnapshot: (snapshot) => engine.write(() => snapshots.put(snapshot)),
    dropSnapshots: () => engine.write(() => snapshots.drop()),
    sweepSnapshotParts: () => engine.write(() => snapshots.sweep()),
    recomputed: () =>
      engine.read(() => ({ size: loading.computed.size, root: loading.computed.root() })),
    firstWrong: () => engine.read(firstWrong),
    tile: (level, index) => engine.read(() => source.tile(level, index)),
    tiles: (after, limit) =>
      engine.read(() =>
        tilesAfter
          .all({ level: after?.level ?? -1, position: after?.index ?? 0, limit })
          .map(toTile),
      ),
    beginSession: (begun, seal) =>
      engine.write(() => {
        putSession.run({
          id: begun.id,
          spki_der: begun.spkiDer,
          signature: begun.signature,
          signer: begun.signer,
          started_at_ms: begun.startedAtMs,
        });
        session = { id: begun.id, seal };
      }),
    sessions: () => engine.read(() => sessions.all({}).map(toSession)),
    pending: (limit) => engine.read(() => pending(limit)),
    extend: async (step, lease) => {
      await engine.write(() => {
        checkFence(lease);
        extend(step);
      });
      applyTaken(step.taken);
      if (
        step.excluded.some(({ sequence }) => own.has(sequence) || sequence <= loading.openThrough)
      )
        exact = false;
      for (const known of [own, judged])
        for (const sequence of known.keys()) if (sequence <= step.sequence) known.delete(sequence);
    },
    vouch: (sequences) =>
      engine.read(() => {
        // counts before it is in the tree, and may never get there
        if (sequences.length > 0) exact = false;
        applyTaken(sequences);
      }),
    latestCheckpoint: () =>
      engine.read(() => {
        const row = lastCheckpoint.get({});
        return row === undefined ? undefined : toCheckpoint(row);
      }),
    addCosignatures: (size, note) =>
      engine.write(() => {
        const row = checkpointsAfter.all({ size: size - 1, limit: 1 })[0];
        const merged = row?.size === size ? mergeNotes(row.note, note) : undefined;
        if (row !== undefined && merged !== undefined)
          putCheckpoint.run({ ...row, root: bytes(row.root), note: merged });
      }),
    checkpoints: (afterSize, limit) =>
      engine.read(() => checkpointsAfter.all({ size: afterSize, limit }).map(toCheckpoint)),
    pendingHash: (sequence) => own.get(sequence)?.hash,
    indexesOf: (sequences) => engine.read(() => sequences.map(runs.indexOf)),
    excluded: (afterSequence, limit) => engine.read(() => runs.excluded(afterSequence, limit)),
    onRecords: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  });

  return { hooks: { sealing, committed }, store, load: () => loading.load() };
}

function consecutive(written: readonly WrittenRecord[]): readonly (readonly WrittenRecord[])[] {
  const all: WrittenRecord[][] = [];
  for (const record of written) {
    const open = all.at(-1);
    if (open?.at(-1)?.sequence === record.sequence - 1) open.push(record);
    else all.push([record]);
  }
  return all;
}

const toTile = (row: Schema['log_tiles']): LogTile => ({
  level: row.level,
  index: row.position,
  hashes: bytes(row.hashes),
});
const toCheckpoint = (row: Schema['log_checkpoints']): StoredCheckpoint => ({
  size: row.size,
  root: bytes(row.root),
  note: row.note,
  timeMs: row.time_ms,
});
const toSession = (row: Schema['log_sessions']): LogSession => ({
  id: row.id,
  spkiDer: bytes(row.spki_der),
  signature: bytes(row.signature),
  signer: row.signer,
  startedAtMs: row.started_at_ms,
});
const toSeal = (row: Schema['log_seals'] | undefined): LogSeal | undefined =>
  row === undefined
    ? undefined
    : {
        sessionId: row.session_id,
        firstSequence: row.first_sequence,
        lastSequence: row.last_sequence,
        signature: bytes(row.signature),
      };
