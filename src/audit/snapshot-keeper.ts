import { createHash } from 'node:crypto';
import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import type { LedgerCopy, LedgerLog } from '../ledger/index.ts';
import type { LogSnapshot } from '../store/ports/index.ts';
import type { LogSigner } from './session.ts';
import { snapshotStatement } from './snapshot.ts';

export interface SnapshotKeeperDependencies {
  readonly log: LedgerLog;
  readonly sign: LogSigner;
  /** Without the epoch. */
  readonly origin: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * The number of records that a start may have to read; default 20,000. Never fewer than there are
   * objects, so that a snapshot costs no more than it saves.
   */
  readonly everyRecords?: number;
}

const everyRecords = 20_000;

/** The tree at a size, as this process knows it. */
export interface TreeEdge {
  readonly size: number;
  readonly root: Buffer;
  /** The highest sequence that was considered for it. */
  readonly sequence: number;
}

/**
 * Makes snapshots of what the log says, so that a start reads only the records behind the newest
 * one. A copy may contain records that wait for the tree. It is signed only over the tree that
 * contains exactly those records. Owner of the copy.
 */
export class SnapshotKeeper {
  readonly #dependencies: SnapshotKeeperDependencies;
  #newest: { readonly size: number; readonly timeMs: number } | undefined;
  #objects = 0;
  /** Waits until the tree contains its records. */
  #copy: LedgerCopy | undefined;
  #writing: Promise<void> | undefined;
  #wanted = false;
  #stopped = false;

  constructor(dependencies: SnapshotKeeperDependencies, basis: LogSnapshot | undefined) {
    this.#dependencies = dependencies;
    this.#newest = basis;
  }

  get newest(): { readonly size: number; readonly timeMs: number } | undefined {
    return this.#newest;
  }

  /**
   * Makes a snapshot at the next opportunity, even if few records are behind the newest one: the
   * key of that one signs no more.
   */
  want(): void {
    this.#wanted = true;
  }

  /**
   * Called when the tree has grown to `edge` and nothing was sequenced since. `at`: the tree up to
   * one of the records that were just taken; undefined for any other record.
   */
  async grown(edge: TreeEdge, at: (sequence: number) => TreeEdge | undefined): Promise<void> {
    if (this.#stopped || this.#writing !== undefined) return;
    const copy = this.#copy ?? (this.#isDue(edge.size) ? await this.#take() : undefined);
    this.#copy = undefined;
    if (copy === undefined || !copy.good()) return;
    const covered = copy.pending === undefined ? edge : at(copy.pending);
    if (covered !== undefined) this.#begin(copy, covered);
    else if (copy.pending !== undefined && copy.pending > edge.sequence) this.#copy = copy;
  }

  /** Called while nothing is sequenced, and the tree is that of the newest checkpoint. */
  async atRest(
    edge: TreeEdge,
    least = this.#dependencies.everyRecords ?? everyRecords,
  ): Promise<void> {
    await this.#writing;
    if (
      this.#stopped ||
      edge.size === 0 ||
      (!this.#wanted && edge.size - (this.#newest?.size ?? 0) < least)
    )
      return;
    const copy = await this.#take();
    if (copy !== undefined && copy.pending === undefined) this.#begin(copy, edge);
  }

  /** Finishes the snapshot that is being written, and begins no other. */
  async close(): Promise<void> {
    this.#stopped = true;
    await this.#writing;
  }

  /**
   * Removes the snapshots, because the database has an impossible content. No snapshot may hide
   * that from the next start.
   */
  async drop(): Promise<void> {
    this.#stopped = true;
    await this.#writing;
    await this.#dependencies.log.dropSnapshots();
    this.#newest = undefined;
  }

  #isDue(size: number): boolean {
    const since = size - (this.#newest?.size ?? 0);
    return (
      this.#wanted ||
      since >= Math.max(this.#dependencies.everyRecords ?? everyRecords, this.#objects)
    );
  }

  async #take(): Promise<LedgerCopy | undefined> {
    const { log, logger } = this.#dependencies;
    const copy = log.copyLedger();
    if (copy !== undefined) return copy;
    this.#stopped = true;
    logger.warn(
      {},
      'this process knows records that are not in the tree, so that it makes no snapshot of the audit log',
    );
    return undefined;
  }

  #begin(copy: LedgerCopy, edge: TreeEdge): void {
    this.#writing = this.#write(copy, edge).finally(() => {
      this.#writing = undefined;
    });
  }

  async #write(copy: LedgerCopy, { size, root, sequence }: TreeEdge): Promise<void> {
    const { log, sign, origin, clock, logger } = this.#dependencies;
    this.#wanted = false;
    this.#objects = copy.objects;
    try {
      const digest = createHash('sha256');
      let parts = 0;
      // one transaction for each part, so that others wait for one part at most
      for (const part of copy.parts()) {
        digest.update(createHash('sha256').update(part).digest());
        await log.putSnapshotPart(size, parts, part);
        parts += 1;
      }
      const unsigned = {
        size,
        root,
        sequence,
        parts,
        digest: digest.digest(),
        timeMs: clock.nowMs(),
      };
      await log.putSnapshot({
        ...unsigned,
        signature: await sign(snapshotStatement(unsigned, origin)),
      });
      this.#newest = { size, timeMs: unsigned.timeMs };
      logger.info({ size, objects: copy.objects }, 'snapshot of the audit log');
      while (await log.sweepSnapshotParts()) {
        /* parts of older snapshots */
      }
    } catch (thrown) {
      const { code } = PkiError.from(thrown);
      if (code !== 'SHUTTING_DOWN')
        logger.warn(
          { ...errorFields(thrown) },
          'a snapshot of the audit log could not be made; trying again with the next records',
        );
    }
  }
}
