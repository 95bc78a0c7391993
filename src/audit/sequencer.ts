import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import {
  checkpointText,
  CompactRange,
  formatNote,
  nodesFromTiles,
  TileCollector,
  tileWidth,
  type NoteKey,
} from '../common/tlog/index.ts';
import type { LedgerLog } from '../ledger/index.ts';
import type { Lease, LeaseStore, StoredCheckpoint } from '../store/ports/index.ts';
import { judgePending } from './judge.ts';
import type { LogSigner, SealCheck } from './session.ts';
import type { SnapshotKeeper } from './snapshot-keeper.ts';

export interface SequencerDependencies {
  readonly log: LedgerLog;
  readonly leases: LeaseStore;
  readonly sign: LogSigner;
  readonly seals: SealCheck;
  /** The log's key. Its name is the origin, which changes with the epoch. */
  readonly key: () => NoteKey;
  /**
   * True while the database is older than what was signed. The tree does not grow then: it would
   * become another tree under the same origin.
   */
  readonly held: () => boolean;
  /** The name of this process, unique among all processes. */
  readonly holder: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called after the checkpoint is durable in the database, to publish it at once. */
  readonly publish: (checkpoint: StoredCheckpoint) => Promise<void>;
  /** Called after the tree has grown, before the next records are sequenced. */
  readonly grown: SnapshotKeeper['grown'];
  /** Called after each look at the waiting records, with any outcome. */
  readonly looked: () => void;
  /** Called for a row of the audit table that no server wrote. */
  readonly onForeign: (record: { readonly sequence: number; readonly reason: string }) => void;
}

const logLease = 'audit-log';
const leaseMs = 15_000;
const renewBeforeMs = 5_000;
/**
 * The first record waits this long for others. The next checkpoint comes this long after the last
 * one. Together less than a second.
 */
const gatherMs = 40;
const betweenMs = 500;
const retryMs = 1_000;
/** A failure is logged at once, and then at this interval while it lasts. */
const sayAgainMs = 60_000;
/** The longest time that a record waits, while nothing fails. */
export const longestWaitMs = gatherMs + betweenMs;
const batchLimit = 4_096;

/**
 * Gives records their index in the tree and signs checkpoints, one actor at a time. Owner of the
 * tree's right edge.
 */
export class Sequencer {
  readonly #dependencies: SequencerDependencies;
  readonly #stop: () => void;
  #lease: Lease | undefined;
  #range: CompactRange | undefined;
  /** The rightmost tile of each level. */
  readonly #edge = new Map<number, { readonly index: number; readonly hashes: Buffer }>();
  #cancelTimer: (() => void) | undefined;
  #running = false;
  #turns: Promise<unknown> = Promise.resolve();
  #lastMs = -Infinity;
  #waitingSinceMs: number | undefined;
  #saidMs = -Infinity;
  #closed = false;

  constructor(dependencies: SequencerDependencies) {
    this.#dependencies = dependencies;
    this.#stop = dependencies.log.onRecords(() => {
      this.#waitingSinceMs ??= dependencies.clock.monotonicMs();
      this.#wake(gatherMs);
    });
  }

  /** How long the oldest record outside the tree, as far as this process knows, has waited. */
  get waitingMs(): number {
    if (this.#waitingSinceMs === undefined) return 0;
    return this.#dependencies.clock.monotonicMs() - this.#waitingSinceMs;
  }

  get size(): number {
    return this.#range?.size ?? 0;
  }

  /**
   * Sequences all records that are pending now.
   *
   * @throws the error that prevents it
   */
  catchUp(): Promise<void> {
    return this.#inTurn(async () => {
      while (await this.#step()) {
        /* until all records that were pending at the start are in the tree */
      }
    });
  }

  /**
   * Counts waiting records under valid seals for their objects, while the tree may not grow yet.
   */
  vouchPending(): Promise<void> {
    return this.#inTurn(async () => {
      const { log, seals } = this.#dependencies;
      seals.learn(await log.sessions());
      const { sequence: after } = await log.head();
      const pending = await log.pending(Number.MAX_SAFE_INTEGER);
      const { taken } = judgePending(pending, seals, { after, more: false });
      log.vouch(taken.map(({ sequence }) => sequence));
    });
  }

  /**
   * Calls back with the present tree while nothing is sequenced. Does not call while the tree may
   * not grow, or another process holds the lease.
   */
  atRest(
    work: (head: { readonly size: number; readonly sequence: number }) => Promise<void>,
  ): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#dependencies.held() || (await this.#holdLease()) === undefined) return;
      await work(await this.#dependencies.log.head());
    });
  }

  async close(): Promise<void> {
    this.#stop();
    this.#cancelTimer?.();
    this.#closed = true;
    try {
      await this.catchUp();
      if (this.#lease !== undefined) await this.#dependencies.leases.release(this.#lease);
    } catch (thrown) {
      this.#dependencies.logger.warn(
        { ...errorFields(thrown) },
        'the last records of this run will get into the tree at the next start',
      );
    }
  }

  #wake(afterMs: number): void {
    if (
      this.#cancelTimer !== undefined ||
      this.#running ||
      this.#closed ||
      this.#dependencies.held()
    )
      return;
    const { clock } = this.#dependencies;
    const delay = Math.max(afterMs, this.#lastMs + betweenMs - clock.monotonicMs());
    this.#cancelTimer = clock.after(delay, () => {
      this.#cancelTimer = undefined;
      this.#running = true;
      void this.#run();
    });
  }

  async #run(): Promise<void> {
    try {
      const more = await this.#inTurn(() => this.#step());
      this.#running = false;
      // records that came meanwhile did not wake it
      if (more || (await this.#dependencies.log.pending(1)).length > 0) this.#wake(gatherMs);
    } catch (thrown) {
      this.#running = false;
      this.#failed(PkiError.from(thrown));
    }
    this.#dependencies.looked();
  }

  #failed(error: PkiError): void {
    if (error.code === 'SHUTTING_DOWN') return;
    const nowMs = this.#dependencies.clock.monotonicMs();
    this.#waitingSinceMs ??= nowMs;
    if (nowMs - this.#saidMs >= sayAgainMs) {
      this.#saidMs = nowMs;
      this.#dependencies.logger.error(
        { ...errorFields(error), retryMs, waitingMs: this.waitingMs },
        'the audit log could not be sequenced; trying again',
      );
    }
    this.#range = undefined;
    if (error.code === 'LEASE_LOST') this.#lease = undefined;
    this.#wake(retryMs);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turns.then(work, work);
    this.#turns = turn.catch(() => {});
    return turn;
  }

  /**
   * Returns whether more records were pending than it took. Otherwise it took all that were there
   * at its start.
   */
  async #step(): Promise<boolean> {
    const { log, clock, seals } = this.#dependencies;
    if (this.#dependencies.held()) return false;
    const lease = await this.#holdLease();
    if (lease === undefined) return false;
    const range = (this.#range ??= await this.#readEdge());
    const pending = await log.pending(batchLimit);
    if (pending.length === 0) {
      this.#waitingSinceMs = undefined;
      return false;
    }
    const sealed = pending.some(
      ({ origin }) => origin.kind === 'sealed' && !seals.knows(origin.seal.sessionId),
    );
    if (sealed) seals.learn(await log.sessions());
    const judged = judgePending(pending, seals, {
      after: (await log.head()).sequence,
      more: pending.length === batchLimit,
    });
    const next = range.clone();
    const tiles = new TileCollector(({ level, index }) => {
      const tile = this.#edge.get(level);
      return tile?.index === index ? tile.hashes : undefined;
    });
    for (const record of judged.taken) next.append(record.leafHash, tiles.add);
    const checkpoint = await this.#signed(next, clock.nowMs());
    const changed = tiles.changed().map(({ address, hashes }) => ({ ...address, hashes }));
    await log.extend(
      {
        fromSize: range.size,
        taken: judged.taken.map(({ sequence }) => sequence),
        excluded: judged.excluded,
        sequence: judged.sequence,
        tiles: changed,
        checkpoint,
      },
      lease,
    );
    for (const { level, index, hashes } of changed) {
      const present = this.#edge.get(level);
      if (present === undefined || present.index <= index) this.#edge.set(level, { index, hashes });
    }
    this.#range = next;
    this.#lastMs = clock.monotonicMs();
    this.#waitingSinceMs = undefined;
    this.#saidMs = -Infinity;
    for (const excluded of judged.excluded) this.#dependencies.onForeign(excluded);
    await this.#dependencies.publish(checkpoint);
    await this.#dependencies.grown(
      { size: next.size, root: checkpoint.root, sequence: judged.sequence },
      (sequence) => {
        const upTo = judged.taken.findIndex((record) => record.sequence === sequence);
        if (upTo < 0) return undefined;
        const until = range.clone();
        for (const record of judged.taken.slice(0, upTo + 1)) until.append(record.leafHash);
        return { size: until.size, root: until.root(), sequence };
      },
    );
    return pending.length === batchLimit;
  }

  async #signed(range: CompactRange, timeMs: number): Promise<StoredCheckpoint> {
    const { sign } = this.#dependencies;
    const key = this.#dependencies.key();
    const root = range.root();
    const text = checkpointText({ origin: key.name, size: range.size, root });
    const note = formatNote({
      text,
      signatures: [{ name: key.name, keyId: key.id, signature: await sign(text) }],
    });
    return { size: range.size, root, note, timeMs };
  }

  async #holdLease(): Promise<Lease | undefined> {
    const { leases, clock, holder } = this.#dependencies;
    const nowMs = clock.nowMs();
    if (this.#lease !== undefined && this.#lease.expiresAtMs - nowMs > renewBeforeMs)
      return this.#lease;
    const before = this.#lease?.fence;
    this.#lease = await leases.acquire(logLease, holder, nowMs, leaseMs);
    // another process may have extended the tree in between
    if (this.#lease?.fence !== before) this.#range = undefined;
    return this.#lease;
  }

  async #readEdge(): Promise<CompactRange> {
    const { size } = await this.#dependencies.log.head();
    this.#edge.clear();
    for (
      let level = 0, width = size;
      width > 0;
      level += 1, width = Math.floor(width / tileWidth)
    ) {
      const index = Math.floor(width / tileWidth);
      const hashes = await this.#dependencies.log.tile(level, index);
      if (hashes !== undefined) this.#edge.set(level, { index, hashes });
    }
    return CompactRange.at(
      size,
      nodesFromTiles(({ level, index }) => {
        const tile = this.#edge.get(level);
        return tile?.index === index ? tile.hashes : undefined;
      }),
    );
  }
}
