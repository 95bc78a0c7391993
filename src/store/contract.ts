import type { ErrorCode, PkiError } from '../common/errors/index.ts';
import type {
  Agent,
  AgentState,
  AuditEvent,
  AuditRecord,
  CertificateKind,
  CertificateRecord,
  CertificateState,
  ConsumerRecord,
  Delegation,
  Intent,
  JoinToken,
  Position,
  Rights,
  Role,
} from '../domain/index.ts';
import type { ApprovalStore } from './approval-contract.ts';
import type {
  AuthorityStore,
  BundleStore,
  EvidenceStore,
  RotationStore,
} from './authority-contract.ts';
import type { EntryStore } from './entry-contract.ts';
import type { LeaseStore, LogStore, ObjectLedger } from './log-contract.ts';
import type { RetentionStore } from './retention-contract.ts';
import type { RevocationStore } from './revocation-contract.ts';

export type * from './authority-contract.ts';
export type * from './entry-contract.ts';
export type {
  Lease,
  LeaseStore,
  LedgerCopy,
  LogReview,
  LogSeal,
  LogSession,
  LogSnapshot,
  LogStep,
  LogStore,
  LogTile,
  ObjectLedger,
  ObjectMismatch,
  PendingRecord,
  StoredCheckpoint,
} from './log-contract.ts';
export type { RetentionStore } from './retention-contract.ts';
export type { RevocationStore } from './revocation-contract.ts';

/**
 * The store's ports, one per noun. Every method is one transaction and resolves when it is durable
 * (fdatasync done), so a caller that has its answer may act on it. Audit events given to a method
 * are recorded in that same transaction. Methods throw PkiError: NOT_FOUND, ALREADY_EXISTS,
 * CONFLICT (compare-and-set lost), STORE_*. Nothing is retried inside, except by an engine whose
 * serialisation failures are transient. Calls may be made concurrently; they are applied in some
 * order. Calls that wait together may share one commit; each stays atomic by itself. After `close`:
 * SHUTTING_DOWN. An `expiresAt` is the first second in which the object no longer holds; a
 * certificate's notAfter is its last (inclusive).
 */
export interface Store {
  readonly issuance: IssuanceStore;
  readonly certificates: CertificateStore;
  readonly authorities: AuthorityStore;
  readonly evidence: EvidenceStore;
  readonly bundles: BundleStore;
  readonly rotations: RotationStore;
  readonly entries: EntryStore;
  readonly agents: AgentStore;
  readonly tokens: JoinTokenStore;
  readonly delegations: DelegationStore;
  readonly roles: RoleStore;
  readonly revocations: RevocationStore;
  readonly retention: RetentionStore;
  readonly approvals: ApprovalStore;
  readonly audit: AuditStore;
  readonly meta: MetaStore;
  readonly leases: LeaseStore;
  readonly log: LogStore;
  readonly objects: ObjectLedger;
  /** Called after each commit that moved the revision. Returns the unsubscribe function. */
  onRevision(listener: (position: Position) => void): () => void;
  /**
   * Writes a consistent copy of the database, as of some moment during the call, to a file that
   * must not exist. Writers go on meanwhile.
   */
  backup(path: string): Promise<void>;
  /** Called for each durable commit. Returns the unsubscribe function. */
  onCommit(listener: (commit: CommitFacts) => void): () => void;
  /**
   * Why nothing is read or written any more: a commit could not be made durable. The server must be
   * started again.
   */
  failure(): PkiError | undefined;
  close(): Promise<void>;
}

export interface CommitFacts {
  /** Writes that shared it. */
  readonly writes: number;
  /** From the begin of its transaction until it was durable. */
  readonly seconds: number;
}

/**
 * A page by key: `after` is the last key of the page before (opaque to callers), never an offset. A
 * size outside 1 to 1,000 is brought inside; an `after` that no page gave is INVALID_REQUEST.
 */
export interface PageRequest {
  readonly size: number;
  readonly after?: string;
}
export interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | undefined;
}

export interface IssuanceStore {
  /** All intents of a batch in one commit. */
  recordIntents(intents: readonly Intent[]): Promise<void>;
  /**
   * Ends intents in one commit. For `signed`: re-checks `rights` inside the transaction; if they
   * stand the certificate is `issued` with its audit event, else `withheld` with the code that says
   * which right ended. Marks `replaces` as replaced. Outcomes in the order of the items. An intent
   * that is no longer in state `intent`, or never was, gives `withheld` (CONFLICT) and stays as it
   * is. Whatever is withheld has its event on record as `noun.withheld` with code and reason.
   * `replaces` counts only for a certificate of the same holder.
   */
  finish(items: readonly FinishItem[]): Promise<readonly FinishOutcome[]>;
  /** The recorded certificate for the same requester, request ID and key, if issued. */
  findRequest(
    requester: string,
    requestId: string,
    publicKeySha256: string,
  ): Promise<CertificateRecord | undefined>;
  findRequests(
    keys: readonly {
      readonly requester: string;
      readonly requestId: string;
      readonly publicKeySha256: string;
    }[],
  ): Promise<readonly (CertificateRecord | undefined)[]>;
  /**
   * Turns every intent into `abandoned` (at start, before anything signs); audits each. Returns
   * them.
   */
  abandonIntents(reason: string, nowMs: number): Promise<readonly CertificateRecord[]>;
  /**
   * Serials reported by holders as replaced and read; those not of this holder, or not marked as
   * replaced, are passed over.
   */
  confirmReplaced(holder: string, serials: readonly string[], now: number): Promise<void>;
  /**
   * The keys of all certificates of that holder and kind but one are gone, with the process that
   * had made them: issued and abandoned ones count as replaced.
   */
  confirmGone(holder: string, kind: CertificateKind, except: string, now: number): Promise<void>;
  /**
   * A JWT-SVID after signing, before release: re-checks rights, records jti and audit event in one
   * commit per batch.
   */
  recordJwtSvids(items: readonly JwtSvidRecord[]): Promise<readonly FinishOutcome[]>;
  /**
   * Raises the durable highest expiry of a JWT authority, before anything with that expiry is
   * signed. No-op if already at or above.
   */
  raiseJwtExpiry(authorityId: string, expiresAt: number): Promise<void>;
}

export type FinishItem =
  | {
      readonly kind: 'signed';
      readonly serial: string;
      readonly certificateDer: Buffer;
      readonly sha256: string;
      readonly rights: Rights;
      readonly event: AuditEvent;
    }
  | {
      readonly kind: 'refused';
      readonly serial: string;
      readonly code: ErrorCode;
      readonly event: AuditEvent;
    }
  | {
      readonly kind: 'abandoned';
      readonly serial: string;
      readonly reason: string;
      readonly event: AuditEvent;
    };

export type FinishOutcome =
  | { readonly state: 'issued' }
  | { readonly state: 'refused' | 'abandoned' }
  | { readonly state: 'withheld'; readonly code: ErrorCode; readonly message: string };

export interface JwtSvidRecord {
  readonly jti: string;
  readonly subject: string;
  readonly audience: readonly string[];
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly authorityId: string;
  readonly entryId: string;
  readonly holder: string;
  readonly rights: Rights;
  readonly event: AuditEvent;
}

export interface CertificateFilter {
  readonly spiffeId?: string;
  readonly spiffeIdPrefix?: string;
  readonly kind?: CertificateKind;
  readonly state?: CertificateState;
  readonly holder?: string;
  readonly authorityId?: string;
  readonly entryId?: string;
  readonly expiresBefore?: number;
  readonly expiresAfter?: number;
}

export interface CertificateStore {
  bySerial(serial: string): Promise<CertificateRecord | undefined>;
  list(
    filter: CertificateFilter,
    order: 'created' | 'expiry',
    page: PageRequest,
  ): Promise<Page<CertificateRecord>>;
  /** Issued or abandoned, not expired, and not confirmed as replaced. */
  countLive(filter: CertificateFilter, now: number): Promise<number>;
  /** Latest notAfter of live certificates, or 0. */
  lastNotAfter(filter: CertificateFilter, now: number): Promise<number>;
  /**
   * A self-made record of a certificate that is not issued through intents of a requester (an
   * authority's own).
   */
  countByState(): Promise<Readonly<Record<CertificateState, number>>>;
}

export interface AgentAttestation {
  readonly agent: Omit<
    Agent,
    'generation' | 'state' | 'stateReason' | 'lastSeenAt' | 'survivedOutageSeconds'
  >;
  /** `renew` keeps the generation; the two others start a new session. */
  readonly act: 'attest' | 'recover' | 'renew';
  /** For `renew` and `recover`: the generation that must still stand. */
  readonly generation?: number;
  readonly tokenId?: string;
  readonly event: AuditEvent;
}

export interface AgentStore {
  /**
   * Records a (re-)attestation or renewal after its SVID was issued: refused with AGENT_BANNED,
   * AGENT_EVICTED or AGENT_SUPERSEDED when that no longer stands. Binds the join token's result in
   * the same transaction: JOIN_TOKEN_INVALID when it is of another agent or key, CONFLICT when it
   * led to another serial already (give that one to the caller).
   */
  record(attestation: AgentAttestation): Promise<Agent>;
  byId(spiffeId: string): Promise<Agent | undefined>;
  list(filter: { readonly state?: AgentState }, page: PageRequest): Promise<Page<Agent>>;
  /** Ban or evict: adds one to the generation and moves the revision. */
  setState(spiffeId: string, state: AgentState, reason: string, event: AuditEvent): Promise<Agent>;
  /** Not audited, not durable at once: may be coalesced by the engine. */
  seen(
    spiffeId: string,
    seen: {
      readonly at: number;
      readonly version?: string;
      readonly survivedOutageSeconds?: number;
    },
  ): void;
  replaceConsumers(agentId: string, consumers: readonly ConsumerRecord[]): Promise<void>;
  updateConsumers(
    agentId: string,
    changed: readonly ConsumerRecord[],
    removedIds: readonly string[],
  ): Promise<void>;
  consumers(agentId: string): Promise<readonly ConsumerRecord[]>;
}

export interface JoinTokenStore {
  create(token: JoinToken, event: AuditEvent): Promise<void>;
  byHash(tokenSha256: string): Promise<JoinToken | undefined>;
  byId(id: string): Promise<JoinToken | undefined>;
  /**
   * Binds the first public key; returns the token as it now is (bound to whichever key came first).
   * JOIN_TOKEN_INVALID when expired at `now`.
   */
  bind(id: string, publicKeySha256: string, now: number): Promise<JoinToken>;
  /**
   * It is good for nothing from here on, also where a key is bound and the agent not recorded yet:
   * `expiresAt` becomes 0, a time that no clock goes back to. NOT_FOUND; CONFLICT where it led to a
   * certificate, was revoked, or has expired at `now`.
   */
  revoke(id: string, now: number, event: AuditEvent): Promise<JoinToken>;
  list(page: PageRequest): Promise<Page<JoinToken>>;
}

export interface DelegationStore {
  create(delegation: Delegation, event: AuditEvent): Promise<void>;
  byId(id: string): Promise<Delegation | undefined>;
  /** Neither revoked nor expired at `now`. */
  activeFor(clientId: string, now: number): Promise<readonly Delegation[]>;
  list(filter: { readonly includeRevoked: boolean }, page: PageRequest): Promise<Page<Delegation>>;
  revoke(id: string, now: number, event: AuditEvent): Promise<Delegation>;
}

export interface RoleStore {
  put(role: Role, event: AuditEvent): Promise<Role>;
  delete(name: string, event: AuditEvent): Promise<Role>;
  forMember(spiffeId: string): Promise<readonly Role[]>;
  list(page: PageRequest): Promise<Page<Role>>;
}

export interface AuditFilter {
  readonly subject?: string;
  readonly actor?: string;
  readonly kind?: string;
  /** Both inclusive. */
  readonly sinceMs?: number;
  readonly untilMs?: number;
  /** From the end of the log backwards; otherwise in its order. */
  readonly newestFirst?: boolean;
}

export interface AuditStore {
  /**
   * Events that belong to no other write: refusals of authenticated callers and summaries. One
   * commit per batch.
   */
  append(events: readonly AuditEvent[]): Promise<void>;
  list(filter: AuditFilter, page: PageRequest): Promise<Page<AuditRecord>>;
  count(): Promise<number>;
}

export interface MetaStore {
  /** The trust domain this database belongs to; set once. */
  trustDomain(): Promise<string | undefined>;
  /**
   * First start: writes trust domain and a new epoch. Throws TRUST_DOMAIN_CHANGED when another one
   * stands there.
   */
  claim(trustDomain: string, now: number): Promise<Position>;
  position(): Promise<Position>;
  /** After a restore: what agents know of the past no longer counts. */
  renewEpoch(now: number): Promise<Position>;
}
