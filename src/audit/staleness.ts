import { PkiError } from '../common/errors/index.ts';
import type { Clock, Logger } from '../common/runtime/index.ts';
import type { LedgerLog } from '../ledger/index.ts';
import type { StoredCheckpoint } from '../store/ports/index.ts';
import type { CheckpointFile, LogKeys } from './checkpoint-file.ts';
import { SeenCheckpoints } from './seen-checkpoints.ts';
import { ProofSinceStart } from './start-proof.ts';
import { staleError, type OutsideCheckpoint, type Staleness } from './start-check.ts';

export interface StalenessDependencies {
  readonly log: LedgerLog;
  readonly file: Pick<CheckpointFile, 'append'>;
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly logger: Logger;
}

/** How the log goes on after an operator has accepted a loss. */
export interface GoingOn {
  /** Records the loss and takes the key of the next epoch, before anything is signed. */
  readonly restore: (stale: Staleness) => Promise<void>;
  /** Takes up what waits. */
  readonly goOn: () => Promise<void>;
}

/**
 * Owner of whether the database is the one that was signed last. It becomes stale by a checkpoint
 * that its tree does not contain, and stays so until an operator accepts the loss.
 */
export class DatabaseStaleness {
  readonly #dependencies: StalenessDependencies;
  readonly #seen: SeenCheckpoints;
  readonly #listeners = new Set<() => void>();
  #stale: Staleness | undefined;
  #held = false;
  #accepting = false;
  #begunAt = 0;
  #sinceStart = new ProofSinceStart(0);

  constructor(dependencies: StalenessDependencies) {
    this.#dependencies = dependencies;
    this.#seen = new SeenCheckpoints(dependencies.log);
  }

  get stale(): Staleness | undefined {
    return this.#stale;
  }

  /** The tree stays as it is. */
  get held(): boolean {
    return this.#held;
  }

  /** What others have shown since the start. */
  get sinceStart(): ProofSinceStart {
    return this.#sinceStart;
  }

  /**
   * `sequence`: the last record that was in the tree when this process began. `records`: those
   * under checkpoints then.
   */
  begin(sequence: number, records: number): void {
    this.#begunAt = sequence;
    this.#sinceStart = new ProofSinceStart(records);
  }

  /** Tells everybody who looks at the state of the database to look again. */
  announce(): void {
    for (const listener of this.#listeners) listener();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Of several checkpoints outside the database the newest counts. */
  become(
    newer: OutsideCheckpoint,
    foundBy: string,
    latest: Pick<StoredCheckpoint, 'size'> | undefined,
  ): void {
    const present = this.#stale?.newer;
    if (
      present !== undefined &&
      (present.epoch > newer.epoch || (present.epoch === newer.epoch && present.size >= newer.size))
    )
      return;
    const size = latest?.size ?? 0;
    this.#held = true;
    this.#stale = { newer, size, sequence: this.#begunAt, foundBy };
    this.#dependencies.logger.error(
      {
        code: 'DATABASE_STALE',
        alert: true,
        size,
        newer: newer.size,
        origin: newer.origin,
        foundBy,
      },
      staleError(newer, size).message,
    );
    this.announce();
  }

  /** Looks at a checkpoint that somebody else kept; it counts only under one of the log's keys. */
  async see(
    note: string,
    {
      from,
      latest,
      keys,
    }: {
      readonly from: string;
      readonly latest: StoredCheckpoint | undefined;
      readonly keys: LogKeys;
    },
  ): Promise<'unknown' | 'contained' | 'stale'> {
    const seen = await this.#seen.look(note, latest, keys);
    const { file, clock } = this.#dependencies;
    if (seen.found === 'contained') this.#sinceStart.shown(from, seen.size);
    if (!('outside' in seen)) return seen.found;
    // beside the others, so that a restart knows of it as well
    await file.append(note, clock.nowMs(), from).catch(() => {});
    this.become(seen.outside, from, latest);
    return 'stale';
  }

  /**
   * By the size of the newer checkpoint. A failure leaves the database as stale as it was.
   * @throws PkiError CONFLICT (not stale, or by another size), HSM_*
   */
  async accept(size: number, { restore, goOn }: GoingOn): Promise<void> {
    const stale = this.#stale;
    if (stale === undefined || this.#accepting)
      throw new PkiError('CONFLICT', 'there is no loss to accept', {
        next: 'See "meshca restore show".',
      });
    if (stale.newer.size !== size)
      throw new PkiError(
        'CONFLICT',
        `the newest checkpoint outside the database is over ${stale.newer.size} records, not ${size}`,
        {
          next: 'Review the difference again ("meshca restore show") and accept its number.',
          detail: { expected: stale.newer.size },
        },
      );
    this.#accepting = true;
    try {
      await restore(stale);
      this.#held = false;
      await goOn();
      this.#seen.clear();
      this.#stale = undefined;
    } catch (thrown) {
      this.#held = true;
      throw thrown;
    } finally {
      this.#accepting = false;
    }
    this.announce();
  }
}
