import type { PkiError } from '../common/errors/index.ts';
import type { SpiffeId } from '../common/spiffe/index.ts';
import type { KeyType } from '../common/x509/key-type.ts';
import type {
  AuditValue,
  CertificateKind,
  RecordedProfile,
  Requester,
  Rights,
  Subject,
} from '../domain/index.ts';

/**
 * One leaf to be issued. The caller of this port has already decided that it may be: identity and
 * rights are his word.
 */
export interface LeafRequest {
  /** UUIDv7: the same requester, ID and key get the recorded certificate again. */
  readonly requestId: string;
  readonly csrDer: Buffer;
  readonly subject: Subject;
  readonly kind: Exclude<CertificateKind, 'authority'>;
  readonly profile: Exclude<RecordedProfile, 'authority'>;
  /** Asked for; refused (TTL_OUT_OF_RANGE, ISSUER_LIFETIME), never cut silently. */
  readonly ttlSeconds: number;
  /** Who asks, with its class: what the policy decides by. */
  readonly caller: Requester;
  readonly holder: string;
  readonly entryId: string | null;
  readonly delegationId: string | null;
  readonly replaces: string | null;
  /** Beside that of the authority to sign. */
  readonly rights: Rights;
  /** Key types allowed; all if absent. */
  readonly keyTypes?: readonly KeyType[];
  /** Why, for the audit record: entry, agent, selectors. */
  readonly reason: Readonly<Record<string, AuditValue>>;
  /** For the scope of authorities: the node behind the request. */
  readonly nodeSelectors?: readonly string[];
  /**
   * Aborted when nobody waits for the answer any more. A request without a durable intent goes no
   * further then (CANCELLED); one with an intent runs to its end. Absent: nobody can go away.
   */
  readonly signal?: AbortSignal | undefined;
}

export interface IssuedLeaf {
  readonly requestId: string;
  readonly spiffeId: string;
  readonly serial: string;
  /** Leaf first, then the intermediates; the root is not in it. */
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
  readonly ttlSeconds: number;
  readonly entryId: string;
  readonly holder: string;
  /** Beside that of the authority to sign. */
  readonly rights: Rights;
  readonly reason: Readonly<Record<string, AuditValue>>;
  /** Aborted when nobody waits for the token any more. It is not signed then (CANCELLED). */
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
 * Results per item, in order; a refusal of an authenticated caller's item is on record (audit)
 * before it is returned. Concurrent calls share commits and hand-overs. Never throws for one item's
 * sake.
 */
export interface Issuer {
  issue(requests: readonly LeafRequest[]): Promise<readonly LeafResult[]>;
  /** Throws PkiError. */
  issueJwt(request: JwtRequest): Promise<IssuedJwt>;
}
