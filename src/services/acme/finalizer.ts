import { fail, ok, PkiError, type Result } from '../../common/errors/index.ts';
import { errorFields, uuidv7, type Clock, type Logger } from '../../common/runtime/index.ts';
import type { AcmeOrder, EabKey, StoredProblem } from '../../domain/index.ts';
import type { Issuer, LeafRequest, LeafResult } from '../../issuance/issuer.ts';
import { isNotInLog } from '../../ledger/index.ts';
import { pagesOf } from '../../store/pages.ts';
import type {
  AcmeAccountStore,
  AcmeOrderStore,
  EabKeyStore,
  OrderLease,
} from '../../store/ports/index.ts';
import { keyRight, type AccountKeys } from './account-keys.ts';
import { accountActor } from './accounts.ts';
import type { CaaRecheck } from './caa-recheck.ts';
import type { AccountKey } from './jws.ts';
import { orderRights, type OrderBook } from './order-book.ts';
import { lifeOf, placesOf, subjectOf } from './order-grant.ts';
import { isFaultOfClient, problemOf } from './refusals.ts';

export interface FinalizerDependencies {
  readonly book: OrderBook;
  /** Reads that the log vouches for. */
  readonly orders: Pick<AcmeOrderStore, 'byId' | 'finalizing' | 'acquire' | 'release'>;
  readonly accounts: Pick<AcmeAccountStore, 'byId'>;
  readonly eabKeys: Pick<EabKeyStore, 'byId'>;
  readonly keys: Pick<AccountKeys, 'of' | 'isBlocked'>;
  readonly issuer: Pick<Issuer, 'issue'>;
  readonly caa: Pick<CaaRecheck, 'isDue' | 'check'>;
  /** False while the token is away: an attempt would only leave an abandoned certificate. */
  readonly canSign: () => boolean;
  /** True while the database is not trusted: nothing is issued then, and no order ends. */
  readonly held: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

const pageSize = 100;
const firstRetryMs = 500;
const longestRetryMs = 30_000;
/** One attempt is over by then, unless its process has ended. */
const leaseMs = 10_000;
/** What another process left is taken up so often. */
const lookAgainMs = 60_000;

/** An order that this process issues. */
interface Driven {
  /** Never rejects. */
  readonly ended: Promise<AcmeOrder>;
  /** Requests that wait for it, each until its time is over. */
  readonly waiters: Set<(order: AcmeOrder) => void>;
}

/** What an order rests on. */
interface Ground {
  readonly eabKey: EabKey;
  readonly accountKey: AccountKey;
}

/**
 * Issues the certificates of orders whose CSR is stored, until each is there or its client was at
 * fault: also after a crash, and while the token is away. One process at a time attempts an order,
 * under its lease. The request ID is that of the order, so that even two attempts at once lead to
 * one certificate. What can not be issued ends with the life of the order. Owner of the orders that
 * this process issues.
 */
export class Finalizer {
  readonly #dependencies: FinalizerDependencies;
  readonly #driven = new Map<string, Driven>();
  readonly #waiting = new Set<() => void>();
  readonly #holder: string;
  #cancelLook: () => void = () => {};
  #isClosed = false;
  readonly #closing = new AbortController();

  constructor(dependencies: FinalizerDependencies) {
    this.#dependencies = dependencies;
    this.#holder = uuidv7(dependencies.clock.nowMs());
  }

  /**
   * Goes on with the orders of before, and looks from time to time for what another process has
   * left. Resolves when each of the first has ended, or at the close.
   */
  async start(): Promise<void> {
    await Promise.all(await this.#resumed());
  }

  /** For the transaction that makes an order finalizing. */
  lease(): OrderLease {
    const nowMs = this.#dependencies.clock.nowMs();
    return { holder: this.#holder, nowMs, expiresAtMs: nowMs + leaseMs };
  }

  /**
   * Issues an order. Resolves to it as it is when it has ended, or after this time. `lease`: what
   * was written with the order; undefined: nothing.
   */
  async finish(order: AcmeOrder, waitMs: number, lease?: OrderLease): Promise<AcmeOrder> {
    if (order.stage !== 'finalizing') return order;
    const { clock } = this.#dependencies;
    const { waiters } = this.#drive(order, lease);
    const { promise, resolve } = Promise.withResolvers<AcmeOrder>();
    waiters.add(resolve);
    const cancel = clock.after(waitMs, () => resolve(order));
    try {
      return await promise;
    } finally {
      cancel();
      waiters.delete(resolve);
    }
  }

  /** Orders that wait for their next attempt stay as they are, for the next start. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#closing.abort();
    this.#cancelLook();
    for (const wake of this.#waiting) wake();
    await Promise.all([...this.#driven.values()].map(({ ended }) => ended));
  }

  /** The orders that nobody here issued so far. The next look follows this one. */
  async #resumed(): Promise<readonly Promise<unknown>[]> {
    const { orders, clock, logger } = this.#dependencies;
    // no page waits for the one before: a single order can wait for long
    const resumed: Promise<unknown>[] = [];
    try {
      const pages = pagesOf((request) => orders.finalizing(request), { size: pageSize });
      for await (const page of pages) {
        if (this.#isClosed) break;
        for (const order of page)
          if (!this.#driven.has(order.id)) resumed.push(this.#drive(order).ended);
      }
    } catch (thrown) {
      logger.error({ ...errorFields(thrown) }, 'orders that were under way could not be resumed');
    }
    if (!this.#isClosed) this.#cancelLook = clock.after(lookAgainMs, () => void this.#resumed());
    return resumed;
  }

  #drive(order: AcmeOrder, lease?: OrderLease): Driven {
    const running = this.#driven.get(order.id);
    if (running !== undefined) return running;
    const waiters = new Set<(order: AcmeOrder) => void>();
    const ended = this.#untilEnded(order, lease).then((present) => {
      this.#driven.delete(order.id);
      for (const resolve of waiters) resolve(present);
      return present;
    });
    const driven = { ended, waiters };
    this.#driven.set(order.id, driven);
    return driven;
  }

  async #untilEnded(order: AcmeOrder, first?: OrderLease): Promise<AcmeOrder> {
    const { logger } = this.#dependencies;
    let present = order;
    let lease = first;
    for (let retryMs = firstRetryMs; ; retryMs = Math.min(2 * retryMs, longestRetryMs)) {
      try {
        const ended = this.#isToBeTried(present) ? await this.#checked(present, lease) : undefined;
        if (ended !== undefined) return ended;
      } catch (thrown) {
        logger.warn({ ...errorFields(thrown), order: order.id }, 'an ACME order waits');
      }
      lease = undefined;
      if (this.#isClosed) return present;
      await this.#pause(retryMs);
      if (this.#isClosed) return present;
      try {
        const row = await this.#dependencies.orders.byId(order.id);
        // the ledger announces a row that was taken away
        if (row === undefined) return present;
        present = row;
      } catch (thrown) {
        if (isNotInLog(thrown)) return this.#letGo(present, thrown);
      }
      if (present.stage !== 'finalizing') return present;
    }
  }

  /** The attempt after its life ends it, or finds the certificate that was made before. */
  #isToBeTried({ expiresAt }: AcmeOrder): boolean {
    const { canSign, held, clock } = this.#dependencies;
    return !held() && (canSign() || clock.now() > expiresAt);
  }

  /** Nothing is issued from a row that differs from the log, and nothing ends it. */
  #letGo(order: AcmeOrder, thrown: unknown): AcmeOrder {
    this.#dependencies.logger.error(
      { ...errorFields(thrown), order: order.id, alert: true },
      'an ACME order is not issued: its row differs from the log',
    );
    return order;
  }

  /** CAA comes first, without the lease: looking at it may take longer than the lease lasts. */
  async #checked(order: AcmeOrder, given?: OrderLease): Promise<AcmeOrder | undefined> {
    const { caa, clock } = this.#dependencies;
    if (!caa.isDue(order)) return this.#leased(order, given);
    const checked = await caa.check(order, this.#closing.signal);
    if (checked.ok)
      return checked.value.stage === 'finalizing' ? this.#leased(checked.value) : checked.value;
    // what is cut off at the close says nothing of the names
    if (this.#isClosed) return undefined;
    const waits = checked.error.code === 'ACME_VANTAGE_SHORT' && clock.now() <= order.expiresAt;
    if (waits) throw checked.error;
    return this.#end(order, checked);
  }

  /** One attempt under the lease of the order. Undefined: another process attempts it. */
  async #leased(order: AcmeOrder, given?: OrderLease): Promise<AcmeOrder | undefined> {
    const { orders } = this.#dependencies;
    if (given === undefined && !(await orders.acquire(order.id, this.lease()))) return undefined;
    try {
      return await this.#attempt(order);
    } catch (thrown) {
      await orders.release(order.id, this.#holder).catch(() => {});
      throw thrown;
    }
  }

  /** @throws PkiError: to be tried again */
  async #attempt(order: AcmeOrder): Promise<AcmeOrder> {
    const ground = await this.#groundOf(order);
    if (!ground.ok) return this.#end(order, ground);
    const { issuer, clock } = this.#dependencies;
    const [result] = await issuer.issue([leafRequest(order, ground.value)]);
    if (result?.ok === true) return this.#end(order, { serial: result.leaf.serial });
    const error = this.#errorOf(result, ground.value);
    // the order was changed meanwhile, which may have ended the right or not: look again
    const isOld = error.code === 'ACME_ORDER_ENDED' && (await this.#isChanged(order));
    if (isFaultOfClient(error) && !isOld) return this.#end(order, { error });
    if (clock.now() > order.expiresAt) return this.#end(order, { error });
    throw error;
  }

  #errorOf(result: LeafResult | undefined, { accountKey }: Ground): PkiError {
    if (result === undefined || result.ok)
      return new PkiError('INTERNAL', 'the issuer returned no result');
    // while it was signed
    return result.error.code === 'KEY_BLOCKED' && this.#dependencies.keys.isBlocked(accountKey)
      ? accountKeyBlocked()
      : result.error;
  }

  /**
   * The key and the account that an order rests on. If one of them was altered past the log, the
   * order ends: nobody can tell what it grants.
   */
  async #groundOf({ eabKeyId, accountId }: AcmeOrder): Promise<Result<Ground>> {
    const { eabKeys, accounts, keys } = this.#dependencies;
    try {
      const [eabKey, account] = await Promise.all([
        eabKeys.byId(eabKeyId),
        accounts.byId(accountId),
      ]);
      if (eabKey === undefined) return fail('EAB_KEY_ENDED', 'the EAB key of the order is gone');
      if (account === undefined)
        return fail('ACME_ACCOUNT_ENDED', 'the account of the order is gone');
      const accountKey = keys.of(account);
      return keys.isBlocked(accountKey)
        ? { ok: false, error: accountKeyBlocked() }
        : ok({ eabKey, accountKey });
    } catch (thrown) {
      if (isNotInLog(thrown)) return { ok: false, error: PkiError.from(thrown) };
      throw thrown;
    }
  }

  async #isChanged({ id, version }: AcmeOrder): Promise<boolean> {
    const present = await this.#dependencies.orders.byId(id);
    return present?.stage === 'finalizing' && present.version !== version;
  }

  #end(
    order: AcmeOrder,
    ending: { readonly serial: string } | { readonly error: PkiError },
  ): Promise<AcmeOrder> {
    const { book } = this.#dependencies;
    if ('serial' in ending) {
      const { serial } = ending;
      return book.change(
        order,
        (present) =>
          present.stage === 'finalizing' ? { ...present, stage: 'issued', serial } : undefined,
        { what: 'issued', detail: { serial }, rights: [] },
      );
    }
    const { code } = ending.error;
    const { type, detail } = problemOf(ending.error);
    // here it is the key of the certificate
    const problem: StoredProblem = { type: code === 'KEY_BLOCKED' ? 'badCSR' : type, detail };
    return book.change(
      order,
      (present) =>
        present.stage === 'finalizing' ? { ...present, stage: 'failed', problem } : undefined,
      { what: 'failed', detail: { code }, rights: [] },
    );
  }

  #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#dependencies.clock.after(ms, resolve);
    this.#waiting.add(resolve);
    return promise.finally(() => {
      cancel();
      this.#waiting.delete(resolve);
    });
  }
}

const accountKeyBlocked = (): PkiError =>
  new PkiError('ACME_ACCOUNT_ENDED', 'the key of the account of the order was blocked');

function leafRequest(order: AcmeOrder, { eabKey, accountKey }: Ground): LeafRequest {
  const name = accountActor(order.accountId);
  return {
    requestId: order.id,
    csrDer: order.csrDer as Buffer,
    subject: subjectOf(order),
    kind: 'endpoint',
    profile: order.profile,
    ttlSeconds: lifeOf(order.profile, eabKey),
    caller: { class: 'acme', name },
    holder: name,
    entryId: null,
    delegationId: null,
    replaces: order.replaces,
    rights: [
      ...orderRights(order),
      keyRight(accountKey),
      { kind: 'acme-order', id: order.id, version: order.version },
    ],
    claim: { by: 'tenant', name: order.tenant },
    places: placesOf(eabKey),
    eabKey,
    keyTypes: eabKey.keyTypes,
    reason: {
      method: 'acme',
      account: order.accountId,
      order: order.id,
      eabKey: order.eabKeyId,
      tenant: order.tenant,
    },
  };
}
