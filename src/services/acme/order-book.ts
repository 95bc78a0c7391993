import { PkiError } from '../../common/errors/index.ts';
import { isUuid, type Clock } from '../../common/runtime/index.ts';
import type { AcmeOrder, AuditEvent, AuditValue, Rights } from '../../domain/index.ts';
import type { AcmeOrderStore, NonceMark, OrderLease } from '../../store/ports/index.ts';
import { accountActor } from './accounts.ts';
import { problem, AcmeRefusal } from './problem.ts';

export interface OrderBookDependencies {
  /** Reads that the log vouches for. */
  readonly orders: Pick<AcmeOrderStore, 'byId' | 'update'>;
  readonly clock: Clock;
}

export interface OrderChange {
  /** What was done, for the record. */
  readonly what: string;
  readonly detail?: Readonly<Record<string, AuditValue>>;
  /** Undefined: the server itself writes. */
  readonly nonce?: NonceMark | undefined;
  readonly rights: Rights;
  readonly signal?: AbortSignal | undefined;
  /** With an order that becomes finalizing. */
  readonly lease?: OrderLease | undefined;
}

/** The rights of whoever has an account: to make an order, and to go on with it. */
export const orderRights = ({
  tenant,
  eabKeyId,
  accountId,
}: Pick<AcmeOrder, 'tenant' | 'eabKeyId' | 'accountId'>): Rights => [
  { kind: 'tenant', name: tenant },
  { kind: 'eab-key', id: eabKeyId },
  { kind: 'acme-account', id: accountId },
];

const tries = 8;

/** Reads orders for their accounts, and changes them by compare-and-set. */
export class OrderBook {
  readonly #dependencies: OrderBookDependencies;

  constructor(dependencies: OrderBookDependencies) {
    this.#dependencies = dependencies;
  }

  /** An order of this account. @throws AcmeRefusal, the same whether or not another one has it */
  async ofAccount(accountId: string, id: string): Promise<AcmeOrder> {
    const order = isUuid(id) ? await this.#dependencies.orders.byId(id) : undefined;
    if (order?.accountId === accountId) return order;
    throw new AcmeRefusal(
      problem('malformed', 'this account has no such order', { status: 404 }).problem,
    );
  }

  /**
   * Changes an order. `next` gets the present order, and again if another request was faster.
   * Undefined: nothing is to be changed. Resolves to the order as it is then.
   */
  async change(
    order: AcmeOrder,
    next: (present: AcmeOrder) => AcmeOrder | undefined,
    change: OrderChange,
  ): Promise<AcmeOrder> {
    const { orders } = this.#dependencies;
    let present = order;
    for (let tried = 1; ; tried += 1) {
      const wanted = next(present);
      if (wanted === undefined) return present;
      const changed = { ...wanted, version: present.version + 1 };
      try {
        await orders.update(changed, {
          nonce: change.nonce,
          rights: change.rights,
          signal: change.signal,
          lease: change.lease,
          event: this.eventOf(changed, change),
        });
        return changed;
      } catch (thrown) {
        if (PkiError.from(thrown).code !== 'CONFLICT' || tried === tries) throw thrown;
        present = await this.ofAccount(order.accountId, order.id);
      }
    }
  }

  /** The record of an order, without its CSR and the tokens of its challenges. */
  eventOf(
    order: AcmeOrder,
    { what, detail = {} }: Pick<OrderChange, 'what' | 'detail'>,
  ): AuditEvent {
    return {
      timeMs: this.#dependencies.clock.nowMs(),
      actor: accountActor(order.accountId),
      kind: what === 'created' ? 'acme.order.created' : 'acme.order.changed',
      subject: order.id,
      detail: { what, stage: order.stage, account: order.accountId, ...detail },
    };
  }
}
