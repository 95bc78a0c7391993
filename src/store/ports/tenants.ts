import type { AuditEvent, Tenant } from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

export interface TenantStore {
  byName(name: string): Promise<Tenant | undefined>;
  /** Every tenant, by name. There are thousands at most. Reads prove nothing. */
  all(): Promise<readonly Tenant[]>;
  list(filter: { readonly includeEnded: boolean }, page: PageRequest): Promise<Page<Tenant>>;
  /** ALREADY_EXISTS; TENANT_OVERLAPS if another tenant has one of its names. */
  create(tenant: Tenant, event: AuditEvent, signal?: AbortSignal): Promise<void>;
  /** Replaces the row with the version before. NOT_FOUND, CONFLICT, TENANT_OVERLAPS. */
  update(tenant: Tenant, event: AuditEvent): Promise<void>;
  /** Its names are free afterwards. NOT_FOUND; CONFLICT while it is active. */
  delete(name: string, event: AuditEvent): Promise<void>;
}
