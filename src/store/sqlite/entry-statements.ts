import { sql } from 'kysely';
import type { EntryTable } from '../schema.ts';
import type { Engine } from './engine.ts';

type Row = { [Column in keyof EntryTable]: EntryTable[Column] };

export function entryReads(engine: Engine) {
  return {
    byId: engine.statement<{ id: string }>()((query, slot) =>
      query.selectFrom('entries').selectAll().where('id', '=', slot('id')),
    ),
    bySpiffeId: engine.statement<{ spiffe_id: string }>()((query, slot) =>
      query
        .selectFrom('entries')
        .selectAll()
        .where('spiffe_id', '=', slot('spiffe_id'))
        .orderBy('id'),
    ),
    templates: engine.statement<Record<never, never>>()((query) =>
      query
        .selectFrom('entries')
        .selectAll()
        .where('is_template', '=', (eb) => eb.lit(1))
        .orderBy('id'),
    ),
    idsFrom: engine.statement<{ after: string; end: string; limit: number }>()((query, slot) =>
      query
        .selectFrom('entries')
        .select('spiffe_id')
        .distinct()
        .where('spiffe_id', '>', slot('after'))
        .where('spiffe_id', '<', slot('end'))
        .orderBy('spiffe_id')
        .limit(slot('limit')),
    ),
    ...readsByParent(engine),
    twin: engine.statement<{
      id: string;
      spiffe_id: string;
      parent_id: string;
      selectors_sha256: Uint8Array;
    }>()((query, slot) =>
      query
        .selectFrom('entries')
        .select('id')
        .where('spiffe_id', '=', slot('spiffe_id'))
        .where('parent_id', '=', slot('parent_id'))
        .where('selectors_sha256', '=', slot('selectors_sha256'))
        .where('id', '<>', slot('id'))
        .limit(1),
    ),
    count: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('entries').select((eb) => eb.fn.countAll<number>().as('count')),
    ),
  };
}

const readsByParent = (engine: Engine) => ({
  byParent: engine.statement<{ parent_id: string; after: string; limit: number }>()((query, slot) =>
    query
      .selectFrom('entries')
      .selectAll()
      .where('parent_id', '=', slot('parent_id'))
      .where('id', '>', slot('after'))
      .orderBy('id')
      .limit(slot('limit')),
  ),
  federating: engine.statement<{ parent_id: string; after: string; limit: number }>()(
    (query, slot) =>
      query
        .selectFrom('entries')
        .selectAll()
        .where('parent_id', '=', slot('parent_id'))
        .where('federates_with', '<>', sql.lit('[]'))
        .where('id', '>', slot('after'))
        .orderBy('id')
        .limit(slot('limit')),
  ),
});

const columns = (slot: <Name extends keyof Row & string>(name: Name) => unknown): never =>
  ({
    spiffe_id: slot('spiffe_id'),
    is_template: slot('is_template'),
    placeholders: slot('placeholders'),
    parent_id: slot('parent_id'),
    selectors: slot('selectors'),
    selectors_sha256: slot('selectors_sha256'),
    x509_ttl_seconds: slot('x509_ttl_seconds'),
    jwt_ttl_seconds: slot('jwt_ttl_seconds'),
    profile: slot('profile'),
    dns_names: slot('dns_names'),
    hint: slot('hint'),
    expires_at: slot('expires_at'),
    admin: slot('admin'),
    downstream: slot('downstream'),
    allow_weak_selectors: slot('allow_weak_selectors'),
    federates_with: slot('federates_with'),
    ips: slot('ips'),
    revision: slot('revision'),
    created_at: slot('created_at'),
    updated_at: slot('updated_at'),
    created_by: slot('created_by'),
    created_order: slot('created_order'),
  }) as never;

export function entryWrites(engine: Engine) {
  return {
    insert: engine.statement<Row>()((query, slot) =>
      query.insertInto('entries').values({ id: slot('id'), ...(columns(slot) as object) } as never),
    ),
    update: engine.statement<Row>()((query, slot) =>
      query.updateTable('entries').set(columns(slot)).where('id', '=', slot('id')),
    ),
    remove: engine.statement<{ id: string }>()((query, slot) =>
      query.deleteFrom('entries').where('id', '=', slot('id')),
    ),
    addSelector: engine.statement<{ entry_id: string; selector: string }>()((query, slot) =>
      query
        .insertInto('entry_selectors')
        .values({ entry_id: slot('entry_id'), selector: slot('selector') }),
    ),
    removeSelectors: engine.statement<{ entry_id: string }>()((query, slot) =>
      query.deleteFrom('entry_selectors').where('entry_id', '=', slot('entry_id')),
    ),
  };
}
