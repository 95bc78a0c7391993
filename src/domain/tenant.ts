/** The names of a tenant. */
export interface OwnedNames {
  /** Each without a dot before it: the name itself and every name below it. Sorted. */
  readonly dnsSuffixes: readonly string[];
  /** SPIFFE ID prefixes that end in `/`. Sorted. */
  readonly spiffePrefixes: readonly string[];
}

/** A tenant and its names. */
export interface TenantNames extends OwnedNames {
  readonly name: string;
}

/**
 * Who owns names: DNS suffixes and SPIFFE ID prefixes, which no two tenants share. Whatever has one
 * of these names (an entry, a key for ACME accounts, a certificate) is the tenant's.
 */
export interface Tenant extends OwnedNames {
  /** Its ID, for ever: at most 64 of `[a-z0-9-]`. A deleted tenant keeps it. */
  readonly name: string;
  /** For people: what it is, and whom to ask. */
  readonly description: string;
  /** So many certificates of its names in `quotaSeconds`, counted from the log; 0: any number. */
  readonly quotaCertificates: number;
  readonly quotaSeconds: number;
  /**
   * `ended`: nothing is issued for its names any more, and they stay its own until it is deleted.
   * `deleted`: it has no names. Whatever names it (a role, an EAB key, a certificate) names no other.
   */
  readonly state: 'active' | 'ended' | 'deleted';
  /** For compare-and-set: grows by one with each change. */
  readonly version: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly createdBy: string;
}
