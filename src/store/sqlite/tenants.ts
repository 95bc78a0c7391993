import { PkiError } from '../../common/errors/index.ts';
import { loggedObject, type AuditEvent, type Tenant } from '../../domain/index.ts';
import type { TenantTable } from '../acme-schema.ts';
import type { AllTenants, LogGuard, TenantStore } from '../ports/index.ts';
import type { AuditWriter } from './audit.ts';
import { fromJson } from './codec.ts';
import type { Engine } from './engine.ts';
import type { Revisions } from './meta.ts';
import { pageSize, toPage } from './paging.ts';
import { builder, type Slots } from './statement.ts';
import { createTellEntries } from './tenant-entries.ts';
import { requireVersionBefore } from './versions.ts';

interface TenantDependencies {
  readonly audit: AuditWriter;
  readonly guard: LogGuard;
  readonly revisions: Revisions;
  readonly removalLimit: number;
}

export function createTenants(engine: Engine, dependencies: TenantDependencies): TenantStore {
  const { audit, guard } = dependencies;
  const { byName, all, versions, insert, update } = tenantStatements(engine);
  const tellEntries = createTellEntries(engine, dependencies);
  const vouched = (name: string): Tenant | undefined => {
    const row = byName.get({ name });
    return guard.requireRow('tenant', name, row === undefined ? undefined : toTenant(row));
  };
  const isAmong = (among: AllTenants): boolean =>
    (versions.get({})?.versions ?? 0) === among.versions;
  const record = (tenant: Tenant, event: AuditEvent): void =>
    audit(event, loggedObject('tenant', tenant));
  return {
    byName: (name) =>
      engine.read(() => {
        const row = byName.get({ name });
        return row === undefined ? undefined : toTenant(row);
      }),
    all: () => engine.read(() => all.all({}).map(toTenant)),
    list: (filter, page) => engine.read(() => listed(engine, filter, page), page.signal),
    create: (tenant, among, { event, signal }) =>
      engine.write(() => {
        if (!isAmong(among)) return false;
        if (vouched(tenant.name) !== undefined)
          throw new PkiError('ALREADY_EXISTS', `there is a tenant ${tenant.name}`);
        insert.run(toRow(tenant));
        record(tenant, event);
        return true;
      }, signal),
    update: (tenant, among, event) =>
      engine.write(() => {
        if (!isAmong(among)) return false;
        const before = vouched(tenant.name);
        requireVersionBefore(tenant, before, `tenant ${tenant.name}`);
        update.run(toRow(tenant));
        tellEntries(before as Tenant, tenant);
        record(tenant, event);
        return true;
      }),
  };
}

function listed(
  engine: Engine,
  { includeEnded }: Parameters<TenantStore['list']>[0],
  page: Parameters<TenantStore['list']>[1],
): Awaited<ReturnType<TenantStore['list']>> {
  const size = pageSize(page);
  let query = builder
    .selectFrom('tenants')
    .selectAll()
    .where('name', '>', page.after ?? '')
    .orderBy('name')
    .limit(size + 1);
  if (!includeEnded) query = query.where('state', '=', 'active');
  return toPage(engine.rows(query), size, toTenant, ({ name }) => name);
}

type Row = { [Column in keyof TenantTable]: TenantTable[Column] };

/** Every column but the key: what an insertion and a change write. */
const contentOf = (slot: Slots<Row>) => ({
  description: slot('description'),
  dns_suffixes: slot('dns_suffixes'),
  spiffe_prefixes: slot('spiffe_prefixes'),
  quota_certificates: slot('quota_certificates'),
  quota_seconds: slot('quota_seconds'),
  state: slot('state'),
  version: slot('version'),
  created_at: slot('created_at'),
  updated_at: slot('updated_at'),
  created_by: slot('created_by'),
});

function tenantStatements(engine: Engine) {
  return {
    byName: engine.statement<{ name: string }>()((query, slot) =>
      query.selectFrom('tenants').selectAll().where('name', '=', slot('name')),
    ),
    all: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('tenants').selectAll().orderBy('name'),
    ),
    versions: engine.statement<Record<never, never>>()((query) =>
      query.selectFrom('tenants').select((eb) => eb.fn.sum<number>('version').as('versions')),
    ),
    insert: engine.statement<Row>()((query, slot) =>
      query.insertInto('tenants').values({ name: slot('name'), ...contentOf(slot) }),
    ),
    update: engine.statement<Row>()((query, slot) =>
      query.updateTable('tenants').set(contentOf(slot)).where('name', '=', slot('name')),
    ),
  };
}

/** Reads a tenant for a right. */
export function tenantByName(engine: Engine): (name: string) => Tenant | undefined {
  const { byName } = tenantStatements(engine);
  return (name) => {
    const row = byName.get({ name });
    return row === undefined ? undefined : toTenant(row);
  };
}

const toRow = (tenant: Tenant): TenantTable => ({
  name: tenant.name,
  description: tenant.description,
  dns_suffixes: JSON.stringify(tenant.dnsSuffixes),
  spiffe_prefixes: JSON.stringify(tenant.spiffePrefixes),
  quota_certificates: tenant.quotaCertificates,
  quota_seconds: tenant.quotaSeconds,
  state: tenant.state,
  version: tenant.version,
  created_at: tenant.createdAt,
  updated_at: tenant.updatedAt,
  created_by: tenant.createdBy,
});

const toTenant = (row: TenantTable): Tenant => ({
  name: row.name,
  description: row.description,
  dnsSuffixes: fromJson<readonly string[]>('tenants', row.dns_suffixes),
  spiffePrefixes: fromJson<readonly string[]>('tenants', row.spiffe_prefixes),
  quotaCertificates: row.quota_certificates,
  quotaSeconds: row.quota_seconds,
  state: row.state,
  version: row.version,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  createdBy: row.created_by,
});
