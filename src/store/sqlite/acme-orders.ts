import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import {
  deletedObject,
  loggedObject,
  orderStatusAt,
  type AcmeOrder,
  type AuditEvent,
} from '../../domain/index.ts';
import type {
  AcmeOrderPlace,
  AcmeOrderStore,
  LogGuard,
  OrderLease,
  Page,
  PageRequest,
} from '../ports/index.ts';
import { orderStatements, toOrder, toRow, type OrderStatements } from './acme-order-rows.ts';
import type { WriteAcme } from './acme-write.ts';
import type { AuditWriter } from './audit.ts';
import { fromHex, fromHexOrUndefined } from './codec.ts';
import type { Engine } from './engine.ts';
import type { FenceCheck } from './leases.ts';
import { pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';
import { requireVersionBefore } from './versions.ts';

interface AcmeOrderDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly checkFence: FenceCheck;
  readonly clock: Clock;
  readonly write: WriteAcme;
}

export function createAcmeOrders(
  engine: Engine,
  dependencies: AcmeOrderDependencies,
): AcmeOrderStore {
  const { clock, guard } = dependencies;
  const statements = orderStatements(engine);
  const read = (id: string): AcmeOrder | undefined => {
    const row = statements.byId.get({ id });
    return row === undefined ? undefined : toOrder(row);
  };
  const replacing = (serial: string | null): AcmeOrder | undefined => {
    const replaces = serial === null ? undefined : fromHexOrUndefined(serial);
    if (replaces === undefined) return undefined;
    return statements.replacing
      .all({ replaces })
      .map(toOrder)
      .find(
        (order) =>
          // of an altered one nobody knows what became of it
          !guard.sameRow('acme-order', order.id, order) ||
          orderStatusAt(order, clock.now()) !== 'invalid',
      );
  };
  return {
    byId: (id) => engine.read(() => read(id)),
    bySerial: (text) =>
      engine.read(() => {
        const serial = fromHexOrUndefined(text);
        const row = serial === undefined ? undefined : statements.bySerial.get({ serial });
        return row === undefined ? undefined : toOrder(row);
      }),
    replacing: (serial) => engine.read(() => replacing(serial)),
    list: (filter, page) => engine.read(() => listed(engine, filter, page), page.signal),
    wasReplaced: (serial) =>
      engine.read(() => {
        const replaces = fromHexOrUndefined(serial);
        return replaces !== undefined && statements.replaced.get({ replaces }) !== undefined;
      }),
    finalizing: (page) => engine.read(() => found(statements.finalizing, page), page.signal),
    validating: (page) => engine.read(() => found(statements.validating, page), page.signal),
    ...orderWrites({ ...dependencies, statements, read, replacing }),
    acquire: (id, lease) => engine.write(() => acquire(statements, id, lease)),
    release: (id, holder) => engine.write(() => void statements.release.run({ id, holder })),
    prune: prunes(engine, statements, dependencies),
  };
}

/** A page of a search. */
function found(search: OrderStatements['finalizing'], page: PageRequest): Page<AcmeOrder> {
  const size = pageSize(page);
  const rows = search.all({ after: page.after ?? '', limit: size + 1 });
  return toPage(rows, size, toOrder, ({ id }) => id);
}

const acquire = (
  statements: OrderStatements,
  id: string,
  { holder, nowMs: now, expiresAtMs: expires }: OrderLease,
): boolean => statements.acquire.run({ id, holder, now, expires }) > 0;

interface OrderWriteDependencies extends AcmeOrderDependencies {
  readonly statements: OrderStatements;
  readonly read: (id: string) => AcmeOrder | undefined;
  readonly replacing: (serial: string | null) => AcmeOrder | undefined;
}

function orderWrites({
  audit,
  guard,
  clock,
  write,
  statements,
  read,
  replacing,
}: OrderWriteDependencies): Pick<AcmeOrderStore, 'create' | 'update'> {
  const record = (order: AcmeOrder, event: AuditEvent): void =>
    audit(event, loggedObject('acme-order', order));
  return {
    create: (order, options) =>
      write(options, () => {
        if (order.stage !== 'open')
          throw new PkiError('INTERNAL', `the new order ${order.id} is ${order.stage}`);
        if (guard.requireRow('acme-order', order.id, read(order.id)) !== undefined)
          throw new PkiError('ALREADY_EXISTS', `there is an order ${order.id}`);
        const other = replacing(order.replaces);
        if (other !== undefined)
          throw new PkiError(
            'CONFLICT',
            `the order ${other.id} replaces the certificate ${order.replaces}`,
          );
        statements.insert.run(toRow(order, order.expiresAt));
        record(order, options.event);
      }),
    update: (order, options) =>
      write(options, () => {
        const before = requireVersionBefore(
          order,
          guard.requireRow('acme-order', order.id, read(order.id)),
          `order ${order.id}`,
        );
        requireStep(before, order, clock.now());
        statements.update.run(toRow(order, endOf(statements, order)));
        if (options.lease !== undefined) acquire(statements, order.id, options.lease);
        record(order, options.event);
      }),
  };
}

const steps: Readonly<Record<AcmeOrder['stage'], readonly AcmeOrder['stage'][]>> = {
  open: ['open', 'finalizing', 'failed'],
  finalizing: ['finalizing', 'issued', 'failed'],
  issued: ['issued'],
  failed: ['failed'],
};

/** Issuing rests on it: an order becomes finalizing while all its authorizations are valid. */
function requireStep(before: AcmeOrder, order: AcmeOrder, now: number): void {
  if (!steps[before.stage].includes(order.stage))
    throw new PkiError('CONFLICT', `the order ${order.id} is ${before.stage}`);
  if (before.stage === 'open' && order.stage === 'finalizing') {
    const status = orderStatusAt(before, now);
    if (status !== 'ready')
      throw new PkiError('ACME_ORDER_ENDED', `the order ${order.id} is ${status}, not ready`);
  }
}

/** An order lasts as long as its certificate. */
function endOf(
  { certificate }: OrderStatements,
  { stage, serial, expiresAt }: Pick<AcmeOrder, 'stage' | 'serial' | 'expiresAt'>,
): number {
  if (stage !== 'issued' || serial === null) return expiresAt;
  return certificate.get({ serial: fromHex(serial, 'the serial') })?.not_after ?? expiresAt;
}

const prunes =
  (
    engine: Engine,
    statements: OrderStatements,
    { audit, guard, checkFence }: AcmeOrderDependencies,
  ): AcmeOrderStore['prune'] =>
  ({ endedBefore: before, after }, limit, lease, event) =>
    engine.write(() => {
      checkFence(lease);
      let removed = 0;
      let last: AcmeOrderPlace | undefined;
      const rows = statements.ended.all({
        ...{ before, limit },
        ...{ after: after?.endsAt ?? Number.MIN_SAFE_INTEGER, id: after?.id ?? '' },
      });
      for (const row of rows) {
        last = { endsAt: row.ends_at, id: row.id };
        const order = toOrder(row);
        // the log vouches for the order, and not for the column of the search
        if (!guard.sameRow('acme-order', order.id, order)) continue;
        if (order.stage === 'finalizing' || endOf(statements, order) >= before) continue;
        statements.drop.run({ id: row.id });
        audit(event(order), deletedObject('acme-order', order.id));
        removed += 1;
      }
      return { removed, next: rows.length < limit ? undefined : last };
    });

function listed(
  engine: Engine,
  { accountId, tenant, stage }: Parameters<AcmeOrderStore['list']>[0],
  page: Parameters<AcmeOrderStore['list']>[1],
): Awaited<ReturnType<AcmeOrderStore['list']>> {
  const size = pageSize(page);
  let query = builder
    .selectFrom('acme_orders')
    .selectAll()
    .where('id', '>', page.after ?? '')
    .orderBy('id')
    .limit(size + 1);
  if (accountId !== undefined) query = query.where('account_id', '=', accountId);
  if (tenant !== undefined) query = query.where('tenant', '=', tenant);
  if (stage !== undefined) query = query.where('stage', '=', stage);
  return toPage(engine.rows(query), size, toOrder, ({ id }) => id);
}
