import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import type { LedgerLog } from '../ledger/index.ts';
import type { LogSnapshot, StoredCheckpoint } from '../store/ports/index.ts';
import { BackgroundCheck } from './background-check.ts';
import type { Sequencer } from './sequencer.ts';
import type { LogSigner } from './session.ts';
import { SnapshotKeeper } from './snapshot-keeper.ts';

export interface SnapshotLimits {
  /** How many records a start may have to read. */
  readonly everyRecords: number;
  /** How many it may after a clean stop. */
  readonly atCloseRecords: number;
}

export interface BasisDependencies {
  readonly log: LedgerLog;
  readonly sign: LogSigner;
  readonly origin: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Default 20,000 and 1,000. */
  readonly limits: SnapshotLimits | undefined;
  readonly atRest: Sequencer['atRest'];
  /** The newest checkpoint, as this process knows it. */
  readonly latest: () => StoredCheckpoint | undefined;
  /** Called when `damage` is there. */
  readonly damaged: () => void;
}

const recordsAtClose = 1_000;

/**
 * What the memory of the log rests on while the server runs: snapshots for the next start, and a
 * second look at what this start has passed over. Owner of whether a record was found that is not
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

  /** The newest one; undefined: a start reads the whole log. */
  get snapshot(): { readonly size: number; readonly timeMs: number } | undefined {
    return this.#snapshots.newest;
  }

  /**
   * Of the records that the start has passed over; `whole`: all were looked at, and say what the
   * snapshot says.
   */
  get review(): { readonly of: number; readonly checked: number; readonly whole: boolean } {
    return {
      of: this.#check?.of ?? 0,
      checked: this.#check?.checked ?? 0,
      whole: this.#check?.whole ?? true,
    };
  }

  readonly grown: SnapshotKeeper['grown'] = (edge, at) => this.#snapshots.grown(edge, at);

  /**
   * A snapshot, if one is due, or `wanted` because the newest is signed by a key that signs no
   * more.
   */
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
   * While the sequencer still works. Never throws: without a last snapshot the next start reads a
   * little more.
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
      'a record of the audit log is not the one that was signed: nothing is signed any more',
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
