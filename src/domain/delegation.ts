import type { KeyType } from '../common/x509/key-type.ts';
import type { DelegationProfile } from './certificate.ts';

export interface Delegation {
  readonly id: string;
  /**
   * The control plane's SPIFFE ID. Its certificate must have the kind `workload` in the inventory,
   * never `delegated`. Or the reserved ID of a control plane's front and an issuer of tokens
   * (controlPlaneId): the grant is then for the processes that such tokens prove.
   */
  readonly clientId: string;
  /** SPIFFE ID patterns (SpiffeIdPattern). Empty if, and only if, the profile is one of names. */
  readonly patterns: readonly string[];
  readonly maxTtlSeconds: number;
  readonly keyTypes: readonly KeyType[];
  /** DNS name patterns that may be requested; `*` is one label. Empty: none. */
  readonly dnsPatterns: readonly string[];
  /** IP addresses and ranges in CIDR notation that may be requested. Of names profiles alone. */
  readonly ipRanges: readonly string[];
  /** Whether a wildcard name may be requested where a pattern begins with `*`. */
  readonly wildcards: boolean;
  readonly profile: DelegationProfile;
  /** 0: never. */
  readonly expiresAt: number;
  readonly revokedAt: number | null;
  readonly createdAt: number;
  readonly createdBy: string;
}

export interface Role {
  readonly name: string;
  /** `noun.verb`, `noun.*`, `*.read` or `*`. */
  readonly verbs: readonly string[];
  /** SPIFFE IDs, ID prefixes that end in `/`, and DNS scopes (`dns:NAME`, `dns:.SUFFIX`). */
  readonly prefixes: readonly string[];
  /** SPIFFE IDs of admins. */
  readonly members: readonly string[];
  readonly createdAt: number;
  readonly updatedAt: number;
}
