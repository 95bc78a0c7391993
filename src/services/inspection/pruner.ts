import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import type { AcmeAccount, AcmeOrder, AuditEvent, EabKey, TokenUse } from '../../domain/index.ts';
import type {
  AcmeOrderPlace,
  AcmeStore,
  AuditStore,
  EabKeyPlace,
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
    readonly acme: {
      readonly orders: Pick<AcmeStore['orders'], 'prune'>;
      readonly pruneExchanged: AcmeStore['pruneExchanged'];
      readonly pruneNonces: AcmeStore['pruneNonces'];
    };
  };
  /** How long certificates and tokens stay after their expiry; undefined: for ever. */
  readonly keepSeconds: number | undefined;
  /**
   * How long an ACME order stays after its end and that of its certificate, and after its end an EAB
   * key that was exchanged.
   */
  readonly keepOrdersSeconds: number;
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
/** Marks of nonces are small, and each batch reads their table. */
const batchOfNonces = 10 * batch;
const restMs = 50;
/** All checkpoints are kept for a week, then one per hour. */
const checkpointsWholeMs = 7 * 86_400_000;
const checkpointEveryMs = 3_600_000;

type Pruned =
  | 'certificates'
  | 'jwtSvids'
  | 'checkpoints'
  | 'tokenUses'
  | 'acmeOrders'
  | 'exchangedKeys'
  | 'acmeNonces';

const nothing: Readonly<Record<Pruned, number>> = {
  certificates: 0,
  jwtSvids: 0,
  checkpoints: 0,
  tokenUses: 0,
  acmeOrders: 0,
  exchangedKeys: 0,
  acmeNonces: 0,
};

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
  async round(): Promise<Readonly<Record<Pruned, number>>> {
    const { store, clock, keepSeconds, keepOrdersSeconds } = this.#dependencies;
    const removed = { ...nothing };
    const now = clock.now();
    if ((await this.#lease()) === undefined) return removed;
    if (keepSeconds !== undefined) {
      const expiredBefore = now - keepSeconds;
      await this.#inventory(removed, expiredBefore);
      await this.#record(removed, expiredBefore);
    }
    removed.acmeOrders = await this.#steps((lease, after: AcmeOrderPlace | undefined) =>
      store.acme.orders.prune(
        { endedBefore: now - keepOrdersSeconds, after },
        batch,
        lease,
        (order) => forgottenOrder(order, clock.nowMs()),
      ),
    );
    // after the orders: a key stays as long as its account has one
    removed.exchangedKeys = await this.#steps((lease, after: EabKeyPlace | undefined) =>
      store.acme.pruneExchanged({ expiredBefore: now - keepOrdersSeconds, after }, batch, lease, {
        key: (key) => forgottenKey(key, clock.nowMs()),
        account: (account) => forgottenAccount(account, clock.nowMs()),
      }),
    );
    removed.acmeNonces = await this.#batches((lease) =>
      store.acme.pruneNonces(now, batchOfNonces, lease),
    );
    const lease = await this.#lease();
    if (lease !== undefined) await store.leases.release(lease);
    return removed;
  }

  /** Certificates, tokens and checkpoints. */
  async #inventory(removed: Record<Pruned, number>, expiredBefore: number): Promise<void> {
    const { store, clock } = this.#dependencies;
    const { retention, tokenUses } = store;
    const nowMs = clock.nowMs();
    removed.certificates = await this.#batches((lease) =>
      retention.pruneCertificates(expiredBefore, batch, lease),
    );
    removed.jwtSvids = await this.#batches((lease) =>
      retention.pruneJwtSvids(expiredBefore, batch, lease),
    );
    removed.tokenUses = await this.#steps((lease, after: TokenUsePlace | undefined) =>
      tokenUses.prune({ expiredBefore, after }, batch, lease, (use) =>
        forgotten(use, clock.nowMs()),
      ),
    );
    removed.checkpoints = await this.#steps((lease, after: number | undefined) =>
      retention.pruneCheckpoints(
        { timeMs: nowMs - checkpointsWholeMs, everyMs: checkpointEveryMs },
        after ?? 0,
        batch,
        lease,
      ),
    );
  }

  /** Asked before each batch: the clock may jump between two. */
  async #lease(): Promise<Lease | undefined> {
    const { store, holder, clock, clockBelieved } = this.#dependencies;
    return this.#closed || !clockBelieved()
      ? undefined
      : store.leases.acquire(leaseName, holder, clock.nowMs(), leaseMs);
  }

  /** Batches until one is not full. Returns the number of removed rows. */
  async #batches(prune: (lease: Lease) => Promise<number>): Promise<number> {
    return this.#steps(async (lease) => {
      const removed = await prune(lease);
      return { removed, next: removed > 0 && removed % batch === 0 ? true : undefined };
    });
  }

  /** Batches, each behind the place where the one before ended. */
  async #steps<Place>(
    prune: (
      lease: Lease,
      after: Place | undefined,
    ) => Promise<{ readonly removed: number; readonly next: Place | undefined }>,
  ): Promise<number> {
    let removed = 0;
    for (let after: Place | undefined; ; ) {
      const lease = await this.#lease();
      if (lease === undefined) return removed;
      const step = await prune(lease, after);
      removed += step.removed;
      after = step.next;
      if (after === undefined) return removed;
      await this.#dependencies.clock.sleep(restMs);
    }
  }

  async #record(
    { certificates, jwtSvids, checkpoints, tokenUses }: Readonly<Record<Pruned, number>>,
    expiredBefore: number,
  ): Promise<void> {
    const { store, clock } = this.#dependencies;
    if (certificates + jwtSvids === 0) return;
    await store.audit.append([
      {
        timeMs: clock.nowMs(),
        actor: 'server',
        kind: 'inventory.pruned',
        subject: 'database',
        detail: { certificates, jwtSvids, checkpoints, tokenUses, expiredBefore },
      },
    ]);
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

/** Its certificate, if there is one, has its own records. */
const forgottenOrder = (
  { id, accountId, tenant, stage, serial }: AcmeOrder,
  timeMs: number,
): AuditEvent => ({
  timeMs,
  actor: 'server',
  kind: 'acme.order.forgotten',
  subject: id,
  detail: { account: accountId, tenant, stage, serial: serial ?? '' },
});

const forgottenKey = (
  { id, tenant, expiresAt, accountId }: EabKey,
  timeMs: number,
): AuditEvent => ({
  timeMs,
  actor: 'server',
  kind: 'eab-key.forgotten',
  subject: id,
  detail: { tenant, expiresAt, account: accountId ?? '' },
});

const forgottenAccount = ({ id, tenant, eabKeyId }: AcmeAccount, timeMs: number): AuditEvent => ({
  timeMs,
  actor: 'server',
  kind: 'acme.account.forgotten',
  subject: id,
  detail: { tenant, eabKey: eabKeyId },
});
