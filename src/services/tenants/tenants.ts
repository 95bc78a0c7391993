import type { AcmeAccount, EabKey, Tenant, TenantInput } from '../../domain/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

/** What has names of a tenant and is not its own: it is refused at the next issuance. */
export interface TenantCollision {
  readonly kind: 'entry' | 'delegation' | 'role';
  /** Of an entry or delegation; the name of a role. */
  readonly id: string;
  /** The SPIFFE ID of an entry, the client of a delegation, the scope of a role. */
  readonly subject: string;
  readonly why: string;
}

/** A change, or with a dry run what it would be. */
export interface TenantChange {
  readonly tenant: Tenant;
  readonly collisions: readonly TenantCollision[];
  /** Beyond those that are listed. */
  readonly moreCollisions: number;
}

export interface TenantView {
  readonly tenant: Tenant;
  /** Places of its quota that are taken. */
  readonly quotaUsed: number;
  /** When the next place is free, if all are taken, Unix seconds; 0: one is free. */
  readonly nextFreeAt: number;
}

export interface TenantReport {
  readonly view: TenantView;
  readonly entries: number;
  readonly sample: readonly { readonly id: string; readonly spiffeId: string }[];
  readonly liveCertificates: number;
  /** Unix seconds; 0: there is no live certificate. */
  readonly lastNotAfter: number;
  readonly eabKeys: readonly Pick<EabKey, 'id' | 'description' | 'revokedAt' | 'expiresAt'>[];
  /** Beyond those that are listed. */
  readonly moreEabKeys: number;
  readonly accounts: readonly Pick<AcmeAccount, 'id' | 'eabKeyId' | 'status'>[];
  /** Beyond those that are listed. */
  readonly moreAccounts: number;
}

/** By the log it is the tenant's, and its row is missing or says something else. */
export interface AlteredObject {
  readonly kind: 'eab-key' | 'acme-account';
  readonly id: string;
}

/** What the end of a tenant hits. */
export interface TenantEnd {
  readonly tenant: Tenant;
  readonly entries: number;
  readonly delegations: number;
  readonly eabKeys: number;
  readonly accounts: number;
  /** Open, or with a certificate that is being issued. */
  readonly orders: number;
  readonly certificates: number;
  /** Of these: of names without an identity. */
  readonly endpoints: number;
  readonly roles: number;
  readonly altered: readonly AlteredObject[];
}

/** What has ended with a tenant. */
export interface TenantDeletion {
  readonly eabKeys: number;
  readonly accounts: number;
  /** Among these. */
  readonly altered: readonly AlteredObject[];
}

/** Tenants: who owns names. */
export interface Tenants {
  /**
   * INVALID_REQUEST, DNS_NAME_*, SPIFFE_ID_*, TENANT_OVERLAPS, ALREADY_EXISTS. With a dry run
   * nothing is written.
   */
  create(
    caller: OperatorCaller,
    input: TenantInput,
    options: { readonly dryRun: boolean; readonly signal?: AbortSignal | undefined },
  ): Promise<TenantChange>;
  /** Those over which the caller has a role. */
  list(
    caller: OperatorCaller,
    filter: { readonly includeEnded: boolean },
    page: PageRequest,
  ): Promise<Page<TenantView>>;
  /** NOT_FOUND. */
  get(caller: OperatorCaller, name: string): Promise<TenantReport>;
  /** Replaces description, names and quota. NOT_FOUND, CONFLICT, TENANT_OVERLAPS. */
  update(
    caller: OperatorCaller,
    input: TenantInput,
    options: { readonly version: number; readonly dryRun: boolean },
  ): Promise<TenantChange>;
  /** NOT_FOUND. */
  previewEnd(caller: OperatorCaller, name: string): Promise<TenantEnd>;
  /** Nothing is issued for its names from then on. Also of one that has ended. NOT_FOUND. */
  end(caller: OperatorCaller, name: string, reason: string): Promise<Tenant>;
  /** Of an ended tenant; its EAB keys and accounts end for ever. NOT_FOUND, CONFLICT. */
  delete(caller: OperatorCaller, name: string, reason: string): Promise<TenantDeletion>;
}
