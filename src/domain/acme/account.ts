import type { KeyType } from '../../common/x509/key-type.ts';
import type { NamesProfile } from '../certificate.ts';
import type { ChallengeType } from '../../common/validation/challenge.ts';

/**
 * A key for external account binding (RFC 8555 section 7.3.4). It is a delegation: whoever binds an
 * account with it gets what it grants, as long as it lasts. Its MAC key is derived in the token
 * from the ID, and is stored nowhere.
 */
export interface EabKey {
  /** UUIDv7: the `kid` of the binding. */
  readonly id: string;
  readonly tenant: string;
  /** For people: what uses it. */
  readonly description: string;
  /** DNS name patterns; `*` is one label. Inside the suffixes of the tenant. */
  readonly dnsPatterns: readonly string[];
  /** IP addresses and ranges in CIDR notation. */
  readonly ipRanges: readonly string[];
  /** Whether a wildcard name may be ordered where a pattern begins with `*`. */
  readonly wildcards: boolean;
  /** At least one. The first is that of orders that name none. */
  readonly profiles: readonly NamesProfile[];
  /** 0: the usual life of the profile. */
  readonly ttlSeconds: number;
  readonly keyTypes: readonly KeyType[];
  /** `owner`: the tenant owns the names, and its accounts show nothing for them. */
  readonly proof: 'challenge' | 'owner';
  /**
   * The types of challenges that its accounts are offered; empty: those of the configuration. Only
   * a key that names `dns-persist-01` gets it: such a challenge has no `token`, and some clients
   * fail on it.
   */
  readonly challengeTypes: readonly ChallengeType[];
  /** `single`: for the first account that binds it. */
  readonly accounts: 'single' | 'many';
  /** The account that bound a `single` one; null: none yet, or many. */
  readonly accountId: string | null;
  /** So many certificates of all its accounts in `quotaSeconds`, counted from the log; 0: any number. */
  readonly quotaCertificates: number;
  readonly quotaSeconds: number;
  /** Nothing is issued from then on, renewals included. 0: never. */
  readonly expiresAt: number;
  readonly revokedAt: number | null;
  /** For compare-and-set: grows by one with each change. */
  readonly version: number;
  readonly createdAt: number;
  readonly createdBy: string;
  /** What it was exchanged for, and ends with; null: an operator made it. */
  readonly source: EabKeySource | null;
}

/** What a caller exchanged for an EAB key. It never changes. */
export type EabKeySource = SvidSource | TokenSource;

interface CommonSource {
  /** The SPIFFE ID of the caller, or the one that an entry gives to its token. */
  readonly spiffeId: string;
  /** The delegation that covers the names. */
  readonly delegationId: string;
}

/** The SVID of a delegate. */
export interface SvidSource extends CommonSource {
  readonly by: 'svid';
  /** Lower-case hex. */
  readonly serial: string;
  /** The SPIFFE ID of the agent that got the SVID; null: an operator minted it. */
  readonly agent: string | null;
}

/** A token of another issuer. */
export interface TokenSource extends CommonSource {
  readonly by: 'token';
  /** The name of the issuer in the configuration. */
  readonly issuer: string;
  readonly subject: string;
  /** The mark of its use. */
  readonly use: string;
  /** The entry below the issuer that gives the SPIFFE ID, as it was. */
  readonly entryId: string;
  readonly entryRevision: number;
}

/** RFC 8555 section 7.1.2. `revoked`: an operator ended it. */
export const acmeAccountStatuses = ['valid', 'deactivated', 'revoked'] as const;
export type AcmeAccountStatus = (typeof acmeAccountStatuses)[number];

export interface AcmeAccount {
  /** UUIDv7: the last part of its URL. */
  readonly id: string;
  /** The algorithm of its key, such as ES256. */
  readonly algorithm: string;
  /** The required members of its key, in the order of RFC 7638. */
  readonly jwk: Readonly<Record<string, string>>;
  /** Base64url (RFC 7638). No two accounts have the same. */
  readonly thumbprint: string;
  /** URLs such as `mailto:ops@example.org`. */
  readonly contacts: readonly string[];
  readonly status: AcmeAccountStatus;
  readonly eabKeyId: string;
  /** That of its EAB key. */
  readonly tenant: string;
  /** For compare-and-set: grows by one with each change. */
  readonly version: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}
