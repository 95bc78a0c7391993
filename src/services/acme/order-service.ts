import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import { orderIdentifiers, orderStatusAt, type AcmeOrder } from '../../domain/index.ts';
import type { LedgerAcme } from '../../ledger/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import { visiblePage, type Access, type OperatorRights } from '../callers/access.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { checkPage } from '../requests.ts';
import type { AcmeOrders, OrderFilter } from './operator-acme.ts';

export interface OrderDependencies {
  readonly orders: LedgerAcme['orders'];
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
}

/** Orders of ACME, for operators with a role over their tenant, or over all their names. */
export class OrderService implements AcmeOrders {
  readonly #dependencies: OrderDependencies;

  constructor(dependencies: OrderDependencies) {
    this.#dependencies = dependencies;
  }

  list(caller: OperatorCaller, filter: OrderFilter, page: PageRequest): Promise<Page<AcmeOrder>> {
    const { access, clock, orders, refusals } = this.#dependencies;
    return refusing(refusals, { caller, operation: 'ListOrders' }, async () => {
      const rights = await access.of(caller);
      rights.require('acme.read', { kind: 'none' });
      const now = clock.now();
      const name = filter.name.toLowerCase();
      const { accountId, tenant } = filter;
      return visiblePage(
        (request) =>
          orders.list(
            {
              ...(accountId === '' ? {} : { accountId }),
              ...(tenant === '' ? {} : { tenant }),
            },
            request,
          ),
        (order) =>
          (filter.eabKeyId === '' || order.eabKeyId === filter.eabKeyId) &&
          (filter.status === '' || orderStatusAt(order, now) === filter.status) &&
          (name === '' || orderIdentifiers(order).some(({ value }) => value === name)) &&
          mayRead(rights, order),
        checkPage(page),
      );
    });
  }

  get(caller: OperatorCaller, id: string): Promise<AcmeOrder> {
    const { access, orders, refusals } = this.#dependencies;
    const subject = id.slice(0, 64);
    return refusing(refusals, { caller, operation: 'GetOrder', subject }, async () => {
      const rights = await access.of(caller);
      rights.require('acme.read', { kind: 'none' });
      const order = await orders.byId(id);
      if (order === undefined || !mayRead(rights, order))
        throw new PkiError('NOT_FOUND', `there is no ACME order ${JSON.stringify(subject)}`, {
          next: 'Orders leave the database a week after their end. The certificate stays: "meshca certificate list".',
        });
      return order;
    });
  }
}

function mayRead(rights: OperatorRights, order: AcmeOrder): boolean {
  const identifiers = orderIdentifiers(order);
  const valuesOf = (wanted: 'dns' | 'ip') =>
    identifiers.filter(({ type }) => type === wanted).map(({ value }) => value);
  return (
    rights.permits('acme.read', { kind: 'tenant', name: order.tenant }) ||
    rights.permits('acme.read', {
      kind: 'names',
      subject: { kind: 'names', dnsNames: valuesOf('dns'), ips: valuesOf('ip') },
    })
  );
}
