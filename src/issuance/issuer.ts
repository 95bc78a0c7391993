import type { ParsedCsr } from '../certs/index.ts';
import type { PkiError } from '../common/errors/index.ts';
import type { QuotaPlace } from '../common/policy/index.ts';
import type { SpiffeId } from '../common/spiffe/index.ts';
import type { KeyType } from '../common/x509/key-type.ts';
import type {
  AuditValue,
  CertificateKind,
  NameClaim,
  RecordedProfile,
  Requester,
  Rights,
  Subject,
} from '../domain/index.ts';
import type { GrantingEabKey, GrantingToken } from './policy-request.ts';

/**
 * One leaf to issue. The caller of this port has already authenticated the requester and checked
 * its rights.
 */
export interface LeafRequest {
  /** UUIDv7. The same requester, ID and key get the recorded certificate again. */
  readonly requestId: string;
  /** The server made the request ID for this request: nothing is on record under it. */
  readonly isNew?: boolean;
  readonly csrDer: Buffer;
  /** `csrDer`, where the caller of this port has read it. Absent: it is read here. */
  readonly csr?: ParsedCsr;
  readonly subject: Subject;
  readonly kind: Exclude<CertificateKind, 'authority'>;
  readonly profile: Exclude<RecordedProfile, 'authority' | 'ocsp-signer'>;
  /**
   * The requested life. If it is not possible, the request is refused (TTL_OUT_OF_RANGE,
   * ISSUER_LIFETIME); the life is never shortened silently.
   */
  readonly ttlSeconds: number;
  /**
   * Nobody asked for this life by number. Near the end of the issuer it is shortened to that end,
   * and the record of the certificate says so. The life of an `endpoint` always is.
   */
  readonly endsWithIssuer?: boolean;
  /** The requester with its class. The policy decides by it. */
  readonly caller: Requester;
  readonly holder: string;
  readonly entryId: string | null;
  readonly delegationId: string | null;
  readonly replaces: string | null;
  /** Who asks for the names, for the tenants that own them. Absent: nobody's. */
  readonly claim?: NameClaim;
  /** What the request takes of the quotas of what granted it: those of an EAB key. */
  readonly places?: readonly QuotaPlace[];
  /** Of the holder of an ACME account: the policy decides by it. */
  readonly eabKey?: GrantingEabKey;
  /** Of a job that asks by a token: likewise. */
  readonly token?: GrantingToken;
  /** The rights that the last transaction checks, beside those of the signing authority. */
  readonly rights: Rights;
  /** Allowed key types; absent: all. */
  readonly keyTypes?: readonly KeyType[];
  /** Why the leaf is issued (entry, agent, selectors), for the audit record. */
  readonly reason: Readonly<Record<string, AuditValue>>;
  /** Selectors of the requesting node, for the scope of authorities. */
  readonly nodeSelectors?: readonly string[];
  /**
   * Aborted when no caller waits for the answer any more. A request without a durable intent then
   * ends with CANCELLED. A request with an intent runs to its end. Absent: the caller can not go
   * away.
   */
  readonly signal?: AbortSignal | undefined;
}

export interface IssuedLeaf {
  readonly requestId: string;
  readonly spiffeId: string;
  readonly serial: string;
  /** The leaf first, then the intermediates, without the root. */
  readonly chainDer: readonly Buffer[];
  readonly notBefore: number;
  readonly notAfter: number;
  /** Seconds from issuance to notAfter. */
  readonly lifetimeSeconds: number;
  readonly serverTime: number;
  readonly authorityId: string;
  readonly publicKeySha256: string;
  readonly spkiDer: Buffer;
}

export type LeafResult =
  | { readonly ok: true; readonly leaf: IssuedLeaf }
  | { readonly ok: false; readonly error: PkiError; readonly refusalId: string };

export interface JwtRequest {
  readonly caller: Requester;
  readonly spiffeId: SpiffeId;
  readonly audience: readonly string[];
  /** Cut to what is left of the JWT authority, on record. */
  readonly ttlSeconds: number;
  readonly entryId: string;
  readonly holder: string;
  /** The rights that the last transaction checks, beside those of the signing authority. */
  readonly rights: Rights;
  readonly reason: Readonly<Record<string, AuditValue>>;
  /**
   * Aborted when no caller waits for the token any more. The token is then not signed (CANCELLED).
   */
  readonly signal?: AbortSignal | undefined;
}

export interface IssuedJwt {
  readonly token: string;
  readonly jti: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/**
 * Issues leaves and tokens: prepare → intents durable → sign → verify → recorded → released.
 * `issue` returns one result per item, in order. A refusal of an authenticated caller's item is in
 * the audit log before it is returned. Concurrent calls share commits and hand-overs. A failed item
 * never makes the call throw.
 */
export interface Issuer {
  issue(requests: readonly LeafRequest[]): Promise<readonly LeafResult[]>;
  /** @throws PkiError */
  issueJwt(request: JwtRequest): Promise<IssuedJwt>;
}
