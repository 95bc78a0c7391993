import type { AuditEvent, Tenant } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface TenantStore {
  byName(name: string): Promise<Tenant | undefined>;
  /** Every tenant, by name, those that were deleted included. Reads prove nothing. */
  all(): Promise<readonly Tenant[]>;
  list(filter: { readonly includeEnded: boolean }, page: PageRequest): Promise<Page<Tenant>>;
  /**
   * `among`: all tenants with which its names were compared. False: others were written since, and
   * nothing is written. ALREADY_EXISTS.
   */
  create(tenant: Tenant, among: AllTenants, write: TenantWrite): Promise<boolean>;
  /**
   * Replaces the row with the version before. `among` as above. Agents lose the entries of a tenant
   * that ends, and get them back where its names are freed. NOT_FOUND, CONFLICT.
   */
  update(tenant: Tenant, among: AllTenants, event: AuditEvent): Promise<boolean>;
}

/** A version of all tenants: no row is ever deleted, and each change adds one. */
export interface AllTenants {
  /** The sum of their versions. */
  readonly versions: number;
}

export interface TenantWrite {
  readonly event: AuditEvent;
  readonly signal?: AbortSignal | undefined;
}
