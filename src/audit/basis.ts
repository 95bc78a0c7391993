import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import type { LedgerLog } from '../ledger/index.ts';
import type { LogSnapshot, StoredCheckpoint } from '../store/ports/index.ts';
import { BackgroundCheck } from './background-check.ts';
import type { Sequencer } from './sequencer.ts';
import type { LogSigner } from './session.ts';
import { SnapshotKeeper } from './snapshot-keeper.ts';

export interface SnapshotLimits {
  /** The number of records that a start may have to read. */
  readonly everyRecords: number;
  /** The number of records that a start may have to read after a clean stop. */
  readonly atCloseRecords: number;
}

export interface BasisDependencies {
  readonly log: LedgerLog;
  readonly sign: LogSigner;
  readonly origin: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Default: 20,000 and 1,000. */
  readonly limits: SnapshotLimits | undefined;
  readonly atRest: Sequencer['atRest'];
  /** The newest checkpoint that this process knows. */
  readonly latest: () => StoredCheckpoint | undefined;
  /** Called when `damage` is set. */
  readonly damaged: () => void;
}

const recordsAtClose = 1_000;

/**
 * The basis of the memory of the log while the server runs: makes snapshots for the next start, and
 * checks the records that this start has skipped. Owner of the fact whether a record differs from
 * the one that was signed.
 */
export class Basis {
  readonly #dependencies: BasisDependencies;
  readonly #snapshots: SnapshotKeeper;
  #check: BackgroundCheck | undefined;
  #damage: PkiError | undefined;

  constructor(dependencies: BasisDependencies, basis: LogSnapshot | undefined) {
    const { log, sign, origin, clock, logger, limits } = dependencies;
    this.#dependencies = dependencies;
    this.#snapshots = new SnapshotKeeper(
      {
        log,
        sign,
        origin,
        clock,
        logger,
        ...(limits === undefined ? {} : { everyRecords: limits.everyRecords }),
      },
      basis,
    );
  }

  get damage(): PkiError | undefined {
    return this.#damage;
  }

  /** The newest snapshot. Undefined: a start reads the whole log. */
  get snapshot(): { readonly size: number; readonly timeMs: number } | undefined {
    return this.#snapshots.newest;
  }

  /**
   * Progress over the records that the start has skipped. `whole`: all were checked and agree with
   * the snapshot.
   */
  get review(): { readonly of: number; readonly checked: number; readonly whole: boolean } {
    return {
      of: this.#check?.of ?? 0,
      checked: this.#check?.checked ?? 0,
      whole: this.#check?.whole ?? true,
    };
  }

  readonly grown: SnapshotKeeper['grown'] = (edge, at) => this.#snapshots.grown(edge, at);

  /** Makes a snapshot if one is due, or if `wanted`: the key of the newest one signs no more. */
  snapshotAtRest({
    least,
    wanted = false,
  }: {
    readonly least?: number;
    readonly wanted?: boolean;
  } = {}): Promise<void> {
    if (wanted) this.#snapshots.want();
    return this.#dependencies.atRest(async ({ size, sequence }) => {
      const latest = this.#dependencies.latest();
      if (latest?.size === size)
        await this.#snapshots.atRest({ size, root: latest.root, sequence }, least);
    });
  }

  checkInBackground(): void {
    const { log, clock, logger } = this.#dependencies;
    const review = log.review();
    if (review === undefined) return;
    this.#check = new BackgroundCheck({
      review,
      clock,
      logger,
      found: (error) => void this.#found(error),
    });
    this.#check.start();
  }

  /**
   * Called while the sequencer still works. Never throws: without a last snapshot the next start
   * only reads more records.
   */
  async close(): Promise<void> {
    await this.#check?.close();
    await this.snapshotAtRest({
      least: this.#dependencies.limits?.atCloseRecords ?? recordsAtClose,
    }).catch(() => {});
    await this.#snapshots.close();
  }

  async #found(error: PkiError): Promise<void> {
    const { logger, damaged } = this.#dependencies;
    this.#damage = error;
    logger.error(
      { ...error.detail, ...errorFields(error), alert: true },
      'a record of the audit log differs from the one that was signed: the server signs nothing any more',
    );
    damaged();
    try {
      await this.#snapshots.drop();
    } catch (thrown) {
      logger.error(
        { ...errorFields(thrown) },
        'the snapshots of the audit log could not be removed',
      );
    }
  }
}
