import { PkiError } from '../../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../../common/runtime/index.ts';
import type { AcmeOrder, EabKey, StoredProblem } from '../../domain/index.ts';
import type { Issuer, LeafRequest } from '../../issuance/issuer.ts';
import type { AcmeOrderStore, EabKeyStore } from '../../store/ports/index.ts';
import { accountActor } from './accounts.ts';
import { orderRights, type OrderBook } from './order-book.ts';
import { lifeOf, placesOf, subjectOf } from './order-grant.ts';
import { isFaultOfClient, problemOf } from './refusals.ts';

export interface FinalizerDependencies {
  readonly book: OrderBook;
  /** Reads that the log vouches for. */
  readonly orders: Pick<AcmeOrderStore, 'byId' | 'finalizing'>;
  readonly eabKeys: Pick<EabKeyStore, 'byId'>;
  readonly issuer: Pick<Issuer, 'issue'>;
  /** False while the token is away: an attempt would only leave an abandoned certificate. */
  readonly canSign: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

const page = 100;
const firstRetryMs = 500;
const longestRetryMs = 30_000;

/**
 * Issues the certificates of orders whose CSR is stored, until each is there or its client was at
 * fault: also after a crash, and while the token is away. The request ID is that of the order, so
 * that a repetition gets the recorded certificate. Owner of the orders that this process issues.
 */
export class Finalizer {
  readonly #dependencies: FinalizerDependencies;
  readonly #driven = new Map<string, Promise<AcmeOrder>>();
  readonly #waiting = new Set<() => void>();
  #isClosed = false;

  constructor(dependencies: FinalizerDependencies) {
    this.#dependencies = dependencies;
  }

  /** Goes on with the orders of before. Resolves when each of them has ended, or at the close. */
  async start(): Promise<void> {
    const { orders, logger } = this.#dependencies;
    let after: string | undefined = '';
    // no page waits for the one before: a single order can wait for ever
    const driven: Promise<unknown>[] = [];
    try {
      while (after !== undefined && !this.#isClosed) {
        const found: readonly AcmeOrder[] = await orders.finalizing(after, page);
        driven.push(...found.map((order) => this.#drive(order)));
        after = found.at(-1)?.id;
      }
      await Promise.all(driven);
    } catch (thrown) {
      logger.error({ ...errorFields(thrown) }, 'orders that were under way could not be resumed');
    }
  }

  /** Issues an order. Resolves to it as it is when it has ended, or after this time. */
  async finish(order: AcmeOrder, waitMs: number): Promise<AcmeOrder> {
    if (order.stage !== 'finalizing') return order;
    const { clock } = this.#dependencies;
    const { promise: late, resolve } = Promise.withResolvers<AcmeOrder>();
    const cancel = clock.after(waitMs, () => resolve(order));
    try {
      return await Promise.race([this.#drive(order), late]);
    } finally {
      cancel();
    }
  }

  /** Orders that wait for their next attempt stay as they are, for the next start. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const wake of this.#waiting) wake();
    await Promise.allSettled(this.#driven.values());
  }

  #drive(order: AcmeOrder): Promise<AcmeOrder> {
    const running = this.#driven.get(order.id);
    if (running !== undefined) return running;
    const driven = this.#untilEnded(order).finally(() => this.#driven.delete(order.id));
    this.#driven.set(order.id, driven);
    return driven;
  }

  async #untilEnded(order: AcmeOrder): Promise<AcmeOrder> {
    const { orders, canSign, logger } = this.#dependencies;
    let present = order;
    for (let retryMs = firstRetryMs; ; retryMs = Math.min(2 * retryMs, longestRetryMs)) {
      try {
        const ended = canSign() ? await this.#attempt(present) : undefined;
        if (ended !== undefined) return ended;
      } catch (thrown) {
        logger.warn({ ...errorFields(thrown), order: order.id }, 'an ACME order waits');
      }
      if (this.#isClosed) return present;
      await this.#pause(retryMs);
      if (this.#isClosed) return present;
      present = (await orders.byId(order.id).catch(() => undefined)) ?? present;
      if (present.stage !== 'finalizing') return present;
    }
  }

  /** @throws PkiError: to be tried again */
  async #attempt(order: AcmeOrder): Promise<AcmeOrder> {
    const { eabKeys, issuer, clock } = this.#dependencies;
    const key = await eabKeys.byId(order.eabKeyId);
    if (key === undefined)
      return this.#end(order, {
        error: new PkiError('EAB_KEY_ENDED', 'the EAB key of the order is gone'),
      });
    const [result] = await issuer.issue([leafRequest(order, key)]);
    if (result?.ok === true) return this.#end(order, { serial: result.leaf.serial });
    const error = result?.error ?? new PkiError('INTERNAL', 'the issuer returned no result');
    // the order was changed meanwhile, which may have ended the right or not: look again
    const isOld = error.code === 'ACME_ORDER_ENDED' && (await this.#isChanged(order));
    if (isFaultOfClient(error) && !isOld) return this.#end(order, { error });
    if (clock.now() > order.expiresAt) return this.#end(order, { error });
    throw error;
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
    const problem: StoredProblem = { type, detail };
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

function leafRequest(order: AcmeOrder, key: EabKey): LeafRequest {
  const name = accountActor(order.accountId);
  return {
    requestId: order.id,
    csrDer: order.csrDer as Buffer,
    subject: subjectOf(order),
    kind: 'endpoint',
    profile: order.profile,
    ttlSeconds: lifeOf(order.profile, key),
    caller: { class: 'acme', name },
    holder: name,
    entryId: null,
    delegationId: null,
    replaces: order.replaces,
    rights: [...orderRights(order), { kind: 'acme-order', id: order.id, version: order.version }],
    claim: { by: 'tenant', name: order.tenant },
    places: placesOf(key),
    keyTypes: key.keyTypes,
    reason: {
      method: 'acme',
      account: order.accountId,
      order: order.id,
      eabKey: order.eabKeyId,
      tenant: order.tenant,
    },
  };
}
