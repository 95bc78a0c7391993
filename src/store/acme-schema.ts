import type {
  AcmeAccountStatus,
  AcmeOrder,
  EabKey,
  NamesProfile,
  Tenant,
} from '../domain/index.ts';

/** The tables of tenants and ACME. */
export interface AcmeTables {
  readonly tenants: TenantTable;
  readonly eab_keys: EabKeyTable;
  readonly acme_accounts: AcmeAccountTable;
  readonly acme_orders: AcmeOrderTable;
  readonly acme_nonces: AcmeNonceTable;
}

export interface TenantTable {
  readonly name: string;
  readonly description: string;
  readonly dns_suffixes: string;
  readonly spiffe_prefixes: string;
  readonly quota_certificates: number;
  readonly quota_seconds: number;
  readonly state: Tenant['state'];
  readonly version: number;
  readonly created_at: number;
  readonly updated_at: number;
  readonly created_by: string;
}

export interface EabKeyTable {
  readonly id: string;
  readonly tenant: string;
  readonly description: string;
  readonly dns_patterns: string;
  readonly ip_ranges: string;
  readonly wildcards: number;
  readonly profiles: string;
  readonly ttl_seconds: number;
  readonly key_types: string;
  readonly proof: EabKey['proof'];
  readonly challenge_types: string;
  readonly accounts: EabKey['accounts'];
  readonly account_id: string | null;
  readonly quota_certificates: number;
  readonly quota_seconds: number;
  readonly expires_at: number;
  readonly revoked_at: number | null;
  readonly version: number;
  readonly created_at: number;
  readonly created_by: string;
  readonly source: string | null;
}

export interface AcmeAccountTable {
  readonly id: string;
  readonly algorithm: string;
  readonly jwk: string;
  readonly thumbprint: string;
  readonly contacts: string;
  readonly status: AcmeAccountStatus;
  readonly eab_key_id: string;
  readonly tenant: string;
  readonly version: number;
  readonly created_at: number;
  readonly updated_at: number;
}

export interface AcmeOrderTable {
  readonly id: string;
  readonly account_id: string;
  readonly eab_key_id: string;
  readonly tenant: string;
  readonly authorizations: string;
  readonly profile: NamesProfile;
  readonly replaces: Uint8Array | null;
  readonly stage: AcmeOrder['stage'];
  /** 1: it is open, and a challenge is to be validated. For the search alone. */
  readonly validating: number;
  readonly csr_der: Uint8Array | null;
  readonly serial: Uint8Array | null;
  readonly problem: string | null;
  readonly expires_at: number;
  /** When it may be pruned. Its certificate may live longer than the order. For the search alone. */
  readonly ends_at: number;
  readonly created_at: number;
  readonly version: number;
  /** The process that attempts to issue it now; empty: none. No decision rests on it. */
  readonly lease_holder: string;
  readonly lease_expires_ms: number;
}

interface AcmeNonceTable {
  readonly id: string;
  readonly expires_at: number;
}
