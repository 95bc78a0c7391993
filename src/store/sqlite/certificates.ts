import { expressionBuilder, sql, type Expression, type SqlBool } from 'kysely';
import type { CertificateRecord, CertificateState, TenantNames } from '../../domain/index.ts';
import type { CertificateFilter, CertificateStore, Page, PageRequest } from '../ports/index.ts';
import type { CertificateTable, Schema } from '../schema.ts';
import { nameRanges, ownedRanges } from './certificate-names.ts';
import { bytesOrNull, fromHexOrUndefined, hex, hexOrNull } from './codec.ts';
import type { Engine } from './engine.ts';
import { numberKey, pageSize, toPage } from './paging.ts';
import { builder } from './statement.ts';

/** The columns of a record. TBS and keys of the store are left out. */
export const certificateColumns = [
  'sequence',
  'serial',
  'spiffe_id',
  'kind',
  'profile',
  'state',
  'state_reason',
  'entry_id',
  'delegation_id',
  'requester',
  'holder',
  'public_key_sha256',
  'request_id',
  'authority_id',
  'created_at_ms',
  'not_before',
  'not_after',
  'sha256',
  'replaced_by',
  'replacement_confirmed_at',
  'certificate_der',
  'shard',
  'tenant',
] as const;
export type CertificateRow = Pick<CertificateTable, (typeof certificateColumns)[number]>;

export const toCertificate = (row: CertificateRow): CertificateRecord => ({
  sequence: row.sequence,
  serial: hex(row.serial),
  spiffeId: row.spiffe_id,
  kind: row.kind,
  profile: row.profile,
  state: row.state,
  stateReason: row.state_reason,
  entryId: row.entry_id,
  delegationId: row.delegation_id,
  requester: row.requester,
  holder: row.holder,
  publicKeySha256: hex(row.public_key_sha256),
  requestId: row.request_id,
  authorityId: row.authority_id,
  createdAtMs: row.created_at_ms,
  notBefore: row.not_before,
  notAfter: row.not_after,
  sha256: hexOrNull(row.sha256),
  shard: row.shard,
  tenant: row.tenant,
  replacedBy: hexOrNull(row.replaced_by),
  replacementConfirmedAt: row.replacement_confirmed_at,
  certificateDer: bytesOrNull(row.certificate_der),
});

/**
 * Maintains the number of certificates per state, in the transaction that changes a state. Counting
 * millions of rows would block the thread. Intents are few at any time: they are counted when
 * somebody asks, since each certificate is one for a moment.
 */
export type CountStates = (changes: StateChanges) => void;
export type StateChanges = Readonly<Partial<Record<Exclude<CertificateState, 'intent'>, number>>>;

export function createCertificates(engine: Engine): {
  readonly store: Omit<CertificateStore, 'heldBy' | 'scan' | 'unreplacedOf'>;
  readonly countStates: CountStates;
} {
  const { bySerial, counts, intents, addCount } = certificateStatements(engine);
  return {
    countStates: (changes) => {
      for (const [state, change] of Object.entries(changes)) {
        if (change !== 0) addCount.run({ state: state as keyof StateChanges, change });
      }
    },
    store: {
      bySerial: (serial) =>
        engine.read(() => {
          const key = fromHexOrUndefined(serial);
          const row = key === undefined ? undefined : bySerial.get({ serial: key });
          return row === undefined ? undefined : toCertificate(row);
        }),
      list: (filter, order, page) =>
        engine.read(() => listed(engine, filter, order, page), page.signal),
      countLive: (filter, now) =>
        engine.read(
          () =>
            engine.rows(live(filter, now).select((eb) => eb.fn.countAll<number>().as('count')))[0]
              ?.count ?? 0,
        ),
      lastNotAfter: (filter, now) =>
        engine.read(
          () =>
            engine.rows(
              live(filter, now).select('not_after').orderBy('not_after', 'desc').limit(1),
            )[0]?.not_after ?? 0,
        ),
      countByState: () =>
        engine.read(() => {
          const total = { intent: 0, issued: 0, withheld: 0, refused: 0, abandoned: 0 };
          for (const row of counts.all({})) total[row.state] = row.count;
          total.intent = intents.get({})?.count ?? 0;
          return total;
        }),
    },
  };
}

function listed(
  engine: Engine,
  filter: CertificateFilter,
  order: 'created' | 'newest' | 'expiry',
  page: PageRequest,
): Page<CertificateRecord> {
  const size = pageSize(page);
  let query = builder
    .selectFrom('certificates')
    .select(certificateColumns)
    .where(matching(filter))
    .limit(size + 1);
  if (order !== 'expiry') {
    const after = numberKey(page.after, 1);
    const [beyond, direction] =
      order === 'newest' ? (['<', 'desc'] as const) : (['>', 'asc'] as const);
    if (after !== undefined) query = query.where('sequence', beyond, after[0] as number);
    return toPage(engine.rows(query.orderBy('sequence', direction)), size, toCertificate, (row) =>
      String(row.sequence),
    );
  }
  const after = numberKey(page.after, 2) as readonly [number, number] | undefined;
  if (after !== undefined)
    query = query.where((eb) =>
      eb(eb.refTuple('not_after', 'sequence'), '>', eb.tuple(after[0], after[1])),
    );
  return toPage(
    engine.rows(query.orderBy('not_after').orderBy('sequence')),
    size,
    toCertificate,
    (row) => `${row.not_after}.${row.sequence}`,
  );
}

const live = (filter: CertificateFilter, now: number) =>
  builder
    .selectFrom('certificates')
    .where(matching(filter))
    .where('state', 'in', ['issued', 'abandoned'])
    .where('not_after', '>=', now)
    .where('replacement_confirmed_at', 'is', null);

function certificateStatements(engine: Engine) {
  return {
    bySerial: engine.statement<{ serial: Buffer }>()((query, slot) =>
      query
        .selectFrom('certificates')
        .select(certificateColumns)
        .where('serial', '=', slot('serial')),
    ),
    counts: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('certificate_counts').selectAll(),
    ),
    intents: engine.statement<Record<never, never>>()((query) =>
      query
        .selectFrom('certificates')
        .select((eb) => eb.fn.countAll<number>().as('count'))
        .where(sql<boolean>`state = 'intent'`)
        // the condition of the index over what is not issued
        .where(sql<boolean>`state <> 'issued'`),
    ),
    addCount: engine.statement<{ state: CertificateState; change: number }>()((query, slot) =>
      query
        .updateTable('certificate_counts')
        .set((eb) => ({ count: eb('count', '+', slot('change')) }))
        .where('state', '=', slot('state')),
    ),
  };
}

/** Only certificates of names have an owner. */
const ownedBy = (owner: string): Expression<SqlBool> => {
  const eb = expressionBuilder<Schema, 'certificates'>();
  return eb.and([
    eb('kind', '=', 'endpoint'),
    eb.or([
      eb.and([eb('entry_id', 'is', null), eb('holder', '=', owner)]),
      eb(
        'entry_id',
        'in',
        eb.selectFrom('entries').select('entries.id').where('entries.spiffe_id', '=', owner),
      ),
    ]),
  ]);
};

/**
 * Issued for a tenant, or with a SPIFFE ID or a DNS name that it owns. The plus keeps the planner
 * from an index on a column where a scan reads ranges of the table.
 */
export function ofTenant(owned: TenantNames, plus: '' | '+'): Expression<SqlBool> {
  const eb = expressionBuilder<Schema, 'certificates'>();
  const spiffeId = sql.raw<string>(`${plus}spiffe_id`);
  return eb.or([
    sql<SqlBool>`${sql.raw<string>(`${plus}tenant`)} = ${owned.name}`,
    ...owned.spiffePrefixes.map(
      (prefix) =>
        sql<SqlBool>`(${spiffeId} >= ${prefix} AND ${spiffeId} < ${`${prefix}\u{10ffff}`})`,
    ),
    ...ownedRanges(owned).map(({ from, until }) =>
      eb(
        'serial',
        'in',
        builder
          .selectFrom('certificate_names')
          .select('certificate_names.serial')
          .where('name', '>=', from)
          .where('name', '<', until),
      ),
    ),
  ]);
}

type Where = Parameters<ReturnType<typeof certificateQuery>['where']>[0];
const certificateQuery = () => builder.selectFrom('certificates');

function matching(filter: CertificateFilter): Where {
  return (eb) => {
    const terms: Expression<SqlBool>[] = [];
    if (filter.spiffeId !== undefined) terms.push(eb('spiffe_id', '=', filter.spiffeId));
    if (filter.spiffeIdPrefix !== undefined) {
      // A range instead of LIKE: it can use the index and needs no escaping.
      terms.push(
        eb('spiffe_id', '>=', filter.spiffeIdPrefix),
        eb('spiffe_id', '<', `${filter.spiffeIdPrefix}\u{10ffff}`),
      );
    }
    if (filter.kind !== undefined) terms.push(eb('kind', '=', filter.kind));
    if (filter.state !== undefined) {
      terms.push(eb('state', '=', filter.state));
      // repeated as a literal, so that the planner may use the partial index
      if (filter.state !== 'issued') terms.push(sql<SqlBool>`state <> 'issued'`);
    }
    if (filter.holder !== undefined) terms.push(eb('holder', '=', filter.holder));
    if (filter.authorityId !== undefined) terms.push(eb('authority_id', '=', filter.authorityId));
    if (filter.entryId !== undefined) terms.push(eb('entry_id', '=', filter.entryId));
    if (filter.delegationId !== undefined)
      terms.push(eb('delegation_id', '=', filter.delegationId));
    if (filter.owner !== undefined) terms.push(ownedBy(filter.owner));
    if (filter.owned !== undefined) terms.push(ofTenant(filter.owned, ''));
    if (filter.profile !== undefined) terms.push(eb('profile', '=', filter.profile));
    for (const { from, until } of nameRanges(filter))
      terms.push(
        eb(
          'serial',
          'in',
          builder
            .selectFrom('certificate_names')
            .select('certificate_names.serial')
            .where('name', '>=', from)
            .where('name', '<', until),
        ),
      );
    if (filter.expiresBefore !== undefined) terms.push(eb('not_after', '<', filter.expiresBefore));
    if (filter.expiresAfter !== undefined) terms.push(eb('not_after', '>', filter.expiresAfter));
    return eb.and(terms);
  };
}
