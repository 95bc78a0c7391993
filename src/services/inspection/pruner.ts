import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import type { TokenUse } from '../../domain/index.ts';
import type {
  AuditStore,
  Lease,
  LeaseStore,
  RetentionStore,
  TokenUsePlace,
  TokenUseStore,
} from '../../store/ports/index.ts';

export interface PrunerDependencies {
  readonly store: {
    readonly retention: RetentionStore;
    readonly leases: LeaseStore;
    readonly audit: Pick<AuditStore, 'append'>;
    readonly tokenUses: Pick<TokenUseStore, 'prune'>;
  };
  /** How long certificates and tokens stay after their expiry. */
  readonly keepSeconds: number;
  readonly holder: string;
  /** By a clock that is not believed nothing has expired. */
  readonly clockBelieved: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

const leaseName = 'pruning';
const leaseMs = 60_000;
const firstAfterMs = 60_000;
const everyMs = 3_600_000;
/** Batches are small, with a pause in between, so that issuance waits for one batch at most. */
const batch = 200;
const restMs = 50;
/** All checkpoints are kept for a week, then one per hour. */
const checkpointsWholeMs = 7 * 86_400_000;
const checkpointEveryMs = 3_600_000;

/**
 * Removes from the database what expired long ago, one replica at a time. The log records the
 * number of removed rows. Records of the log are not removed.
 */
export class Pruner {
  readonly #dependencies: PrunerDependencies;
  #cancel: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(dependencies: PrunerDependencies) {
    this.#dependencies = dependencies;
  }

  start(): void {
    this.#plan(firstAfterMs);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    await this.#running;
  }

  /**
   * Runs one round now. Removes nothing if another replica prunes.
   *
   * @throws PkiError STORE_*, LEASE_LOST
   */
  async round(): Promise<{
    readonly certificates: number;
    readonly jwtSvids: number;
    readonly checkpoints: number;
    readonly tokenUses: number;
  }> {
    const {
      store: { retention, leases },
      keepSeconds,
      holder,
      clock,
      clockBelieved,
    } = this.#dependencies;
    const removed = { certificates: 0, jwtSvids: 0, checkpoints: 0, tokenUses: 0 };
    const nowMs = clock.nowMs();
    const expiredBefore = Math.floor(nowMs / 1000) - keepSeconds;
    // asked before each batch: the clock may jump between two
    const heldLease = async (): Promise<Lease | undefined> =>
      this.#closed || !clockBelieved()
        ? undefined
        : leases.acquire(leaseName, holder, clock.nowMs(), leaseMs);
    let lease = await heldLease();
    if (lease === undefined) return removed;
    for (const [name, prune] of this.#kinds(expiredBefore)) {
      for (let taken = batch; taken === batch && lease !== undefined; ) {
        taken = await prune(lease);
        removed[name] += taken;
        if (taken === batch) await clock.sleep(restMs);
        lease = await heldLease();
      }
    }
    let after: TokenUsePlace | undefined;
    for (let more = true; more && lease !== undefined; lease = await heldLease()) {
      const step = await this.#forgetTokens({ expiredBefore, after }, lease);
      removed.tokenUses += step.removed;
      after = step.next;
      more = after !== undefined;
      if (more) await clock.sleep(restMs);
    }
    for (let after: number | undefined = 0; after !== undefined && lease !== undefined; ) {
      const step: Awaited<ReturnType<RetentionStore['pruneCheckpoints']>> =
        await retention.pruneCheckpoints(
          { timeMs: nowMs - checkpointsWholeMs, everyMs: checkpointEveryMs },
          after,
          batch,
          lease,
        );
      removed.checkpoints += step.removed;
      after = step.next;
      if (after !== undefined) await clock.sleep(restMs);
      lease = await heldLease();
    }
    await this.#record(removed, expiredBefore);
    if (lease !== undefined) await leases.release(lease);
    return removed;
  }

  async #record(
    removed: Readonly<Record<'certificates' | 'jwtSvids' | 'checkpoints' | 'tokenUses', number>>,
    expiredBefore: number,
  ): Promise<void> {
    const { store, clock } = this.#dependencies;
    if (removed.certificates + removed.jwtSvids === 0) return;
    await store.audit.append([
      {
        timeMs: clock.nowMs(),
        actor: 'server',
        kind: 'inventory.pruned',
        subject: 'database',
        detail: { ...removed, expiredBefore },
      },
    ]);
  }

  #forgetTokens(
    which: Parameters<TokenUseStore['prune']>[0],
    lease: Lease,
  ): ReturnType<TokenUseStore['prune']> {
    const { store, clock } = this.#dependencies;
    return store.tokenUses.prune(which, batch, lease, (use) => forgotten(use, clock.nowMs()));
  }

  /** What has its own retention, and the removal of one batch of it. */
  #kinds(expiredBefore: number) {
    const { retention } = this.#dependencies.store;
    return [
      ['certificates', (mine: Lease) => retention.pruneCertificates(expiredBefore, batch, mine)],
      ['jwtSvids', (mine: Lease) => retention.pruneJwtSvids(expiredBefore, batch, mine)],
    ] as const;
  }

  #plan(delayMs: number): void {
    const { clock, logger } = this.#dependencies;
    if (this.#closed) return;
    this.#cancel = clock.after(delayMs, () => {
      this.#running = this.round()
        .then(
          (removed) => {
            if (Object.values(removed).some((count) => count > 0))
              logger.info(removed, 'removed expired rows from the database');
          },
          (thrown: unknown) =>
            logger.error(
              { ...errorFields(thrown) },
              'expired rows could not be removed; trying again',
            ),
        )
        .then(() => this.#plan(everyMs));
    });
  }
}

/** The token itself has long ended, so that nobody can use it again. */
const forgotten = (
  { id, issuer, grantee, expiresAt }: TokenUse,
  timeMs: number,
): Parameters<AuditStore['append']>[0][number] => ({
  timeMs,
  actor: 'server',
  kind: 'identity-token.forgotten',
  subject: grantee,
  detail: { use: id, issuer, expiresAt },
});
