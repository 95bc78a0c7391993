import { PkiError } from '../common/errors/index.ts';
import type { Proven, Tenant } from '../domain/index.ts';
import type { TenantStore } from '../store/ports/index.ts';
import { comparedRows } from './compared-rows.ts';
import type { Objects } from './objects.ts';

/**
 * Tenants as the log has them. To overlook one would free its names for others: what rests on all
 * tenants is refused while a row was altered or taken away past the log.
 */
export interface LedgerTenants extends TenantStore {
  /** @throws PkiError OBJECT_NOT_IN_LOG */
  byName(name: string): Promise<Proven<Tenant> | undefined>;
  /**
   * Every tenant, by name, from memory as long as the log has no newer record of one.
   *
   * @throws PkiError OBJECT_NOT_IN_LOG
   */
  all(): Promise<readonly Proven<Tenant>[]>;
  /** Grows with each record of a tenant. */
  newest(): number;
}

export function ledgerTenants(
  rows: TenantStore,
  objects: Pick<
    Objects,
    'prove' | 'require' | 'newest' | 'expectedCount' | 'announceMissing' | 'announceAbsent'
  >,
): LedgerTenants {
  let known: { readonly newest: number; readonly tenants: readonly Proven<Tenant>[] } | undefined;
  const all = async (): Promise<readonly Proven<Tenant>[]> => {
    for (;;) {
      const newest = objects.newest('tenant');
      if (known?.newest === newest) return known.tenants;
      const tenants = await comparedRows(objects, 'tenant', () => rows.all());
      // a tenant that was recorded meanwhile is in none of the rows
      if (objects.newest('tenant') !== newest) continue;
      if (tenants.length !== objects.expectedCount('tenant'))
        throw new PkiError(
          'OBJECT_NOT_IN_LOG',
          'the tenants in the database differ from the audit log; no name is given to anybody else',
          { detail: { kind: 'tenant' } },
        );
      known = { newest, tenants };
      return tenants;
    }
  };
  return {
    byName: async (name) => {
      const row = await rows.byName(name);
      if (row !== undefined) return objects.require('tenant', row);
      objects.announceAbsent('tenant', name);
      return undefined;
    },
    all,
    newest: () => objects.newest('tenant'),
    list: (filter, page) => rows.list(filter, page),
    create: async (tenant, event, signal) => {
      await all();
      await rows.create(tenant, event, signal);
    },
    update: async (tenant, event) => {
      await all();
      await rows.update(tenant, event);
    },
    delete: (name, event) => rows.delete(name, event),
  };
}
