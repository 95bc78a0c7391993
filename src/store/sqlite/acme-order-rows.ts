import { sql } from 'kysely';
import type { AcmeOrder, Authorization, StoredProblem } from '../../domain/index.ts';
import type { AcmeOrderTable } from '../acme-schema.ts';
import { bytesOrNull, flag, fromHex, hexOrNull, loggedJson } from './codec.ts';
import type { Engine } from './engine.ts';
import type { Slots } from './statement.ts';

type LeaseColumn = 'lease_holder' | 'lease_expires_ms';
/** What the log vouches for, and what is there for searches. */
type Row = { [Column in Exclude<keyof AcmeOrderTable, LeaseColumn>]: AcmeOrderTable[Column] };
export type OrderStatements = ReturnType<typeof orderStatements>;

export const orderStatements = (engine: Engine) => ({
  ...orderReads(engine),
  ...orderSearches(engine),
  ...orderChanges(engine),
  ...orderLeases(engine),
});

/** Reads an order for a right. */
export function acmeOrderById(engine: Engine): (id: string) => AcmeOrder | undefined {
  const { byId } = orderReads(engine);
  return (id) => {
    const row = byId.get({ id });
    return row === undefined ? undefined : toOrder(row);
  };
}

function orderReads(engine: Engine) {
  return {
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('acme_orders').selectAll().where('id', '=', slot('id')),
    ),
    bySerial: engine.statement<{ serial: Buffer }>()((query, slot) =>
      query.selectFrom('acme_orders').selectAll().where('serial', '=', slot('serial')),
    ),
    replacing: engine.statement<{ replaces: Buffer }>()((query, slot) =>
      query
        .selectFrom('acme_orders')
        .selectAll()
        .where('replaces', '=', slot('replaces'))
        .where('stage', '<>', 'failed')
        .orderBy('id'),
    ),
    replaced: engine.statement<{ replaces: Buffer }>()((query, slot) =>
      query
        .selectFrom('acme_orders')
        .select('id')
        .where('replaces', '=', slot('replaces'))
        .limit(1),
    ),
    certificate: engine.statement<{ serial: Buffer }>()((query, slot) =>
      query.selectFrom('certificates').select('not_after').where('serial', '=', slot('serial')),
    ),
  };
}

function orderSearches(engine: Engine) {
  return {
    finalizing: engine.statement<{ after: string; limit: number }>()((query, slot) =>
      query
        .selectFrom('acme_orders')
        .selectAll()
        .where(sql<boolean>`stage = 'finalizing'`)
        .where('id', '>', slot('after'))
        .orderBy('id')
        .limit(slot('limit')),
    ),
    validating: engine.statement<{ after: string; limit: number }>()((query, slot) =>
      query
        .selectFrom('acme_orders')
        .selectAll()
        .where(sql<boolean>`validating = 1`)
        .where('id', '>', slot('after'))
        .orderBy('id')
        .limit(slot('limit')),
    ),
    ended: engine.statement<{ before: number; after: number; id: string; limit: number }>()(
      (query, slot) =>
        query
          .selectFrom('acme_orders')
          .selectAll()
          .where('ends_at', '<', slot('before'))
          .where((has) =>
            has.or([
              has('ends_at', '>', slot('after')),
              has.and([has('ends_at', '=', slot('after')), has('id', '>', slot('id'))]),
            ]),
          )
          .orderBy('ends_at')
          .orderBy('id')
          .limit(slot('limit')),
    ),
  };
}

/** Every column but the key: what an insertion and a change write. */
const contentOf = (slot: Slots<Row>) => ({
  account_id: slot('account_id'),
  eab_key_id: slot('eab_key_id'),
  tenant: slot('tenant'),
  authorizations: slot('authorizations'),
  profile: slot('profile'),
  replaces: slot('replaces'),
  stage: slot('stage'),
  validating: slot('validating'),
  csr_der: slot('csr_der'),
  serial: slot('serial'),
  problem: slot('problem'),
  expires_at: slot('expires_at'),
  ends_at: slot('ends_at'),
  created_at: slot('created_at'),
  version: slot('version'),
});

function orderChanges(engine: Engine) {
  return {
    insert: engine.statement<Row>()((query, slot) =>
      query
        .insertInto('acme_orders')
        .values({ id: slot('id'), ...contentOf(slot), lease_holder: '', lease_expires_ms: 0 }),
    ),
    update: engine.statement<Row>()((query, slot) =>
      query.updateTable('acme_orders').set(contentOf(slot)).where('id', '=', slot('id')),
    ),
    drop: engine.statement<{ id: string }>()((query, slot) =>
      query.deleteFrom('acme_orders').where('id', '=', slot('id')),
    ),
  };
}

/** A lease that ends later than one that is taken now was written by somebody else: it is free. */
function orderLeases(engine: Engine) {
  return {
    acquire: engine.statement<{ id: string; holder: string; now: number; expires: number }>()(
      (query, slot) =>
        query
          .updateTable('acme_orders')
          .set({ lease_holder: slot('holder'), lease_expires_ms: slot('expires') })
          .where('id', '=', slot('id'))
          .where(sql<boolean>`stage = 'finalizing'`)
          .where((has) =>
            has.or([
              has('lease_holder', '=', slot('holder')),
              has('lease_expires_ms', '<=', slot('now')),
              has('lease_expires_ms', '>', slot('expires')),
            ]),
          ),
    ),
    release: engine.statement<{ id: string; holder: string }>()((query, slot) =>
      query
        .updateTable('acme_orders')
        .set({ lease_holder: '', lease_expires_ms: 0 })
        .where('id', '=', slot('id'))
        .where('lease_holder', '=', slot('holder')),
    ),
  };
}

export const toRow = (order: AcmeOrder, endsAt: number): Row => ({
  id: order.id,
  account_id: order.accountId,
  eab_key_id: order.eabKeyId,
  tenant: order.tenant,
  authorizations: JSON.stringify(order.authorizations),
  profile: order.profile,
  replaces: order.replaces === null ? null : fromHex(order.replaces, 'the replaced serial'),
  stage: order.stage,
  validating: flag(isValidating(order)),
  csr_der: order.csrDer,
  serial: order.serial === null ? null : fromHex(order.serial, 'the serial'),
  problem: order.problem === null ? null : JSON.stringify(order.problem),
  expires_at: order.expiresAt,
  ends_at: endsAt,
  created_at: order.createdAt,
  version: order.version,
});

const isValidating = ({ stage, authorizations }: AcmeOrder): boolean =>
  stage === 'open' &&
  authorizations.some(
    ({ status, challenges }) =>
      status === 'pending' && challenges.some((challenge) => challenge.status === 'processing'),
  );

const unreadable: StoredProblem = { type: '', detail: '' };

export const toOrder = (row: Row): AcmeOrder => ({
  id: row.id,
  accountId: row.account_id,
  eabKeyId: row.eab_key_id,
  tenant: row.tenant,
  authorizations: loggedJson<readonly Authorization[]>(row.authorizations, []),
  profile: row.profile,
  replaces: hexOrNull(row.replaces),
  stage: row.stage,
  csrDer: bytesOrNull(row.csr_der),
  serial: hexOrNull(row.serial),
  problem: row.problem === null ? null : loggedJson<StoredProblem>(row.problem, unreadable),
  expiresAt: row.expires_at,
  createdAt: row.created_at,
  version: row.version,
});
