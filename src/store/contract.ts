import type {
  Agent, AgentState, AuditEvent, AuditRecord, Authority, AuthorityKind, AuthorityScope, AuthorityState, BundleRevision, CertificateKind, CertificateRecord,
  CertificateState, ConsumerRecord, Delegation, EntryDraft, Intent, JoinToken, Position, RegistrationEntry, Rights, Role, RotationOperation,
} from '../domain/index.ts';
import type { ApprovalStore } from './approval-contract.ts';
import type { RetentionStore } from './retention-contract.ts';
import type { RevocationStore } from './revocation-contract.ts';
import type { ErrorCode, PkiError } from '../common/errors/index.ts';
import type { ActivationEvidence } from '../common/tlog/index.ts';
import type { Lease, LeaseStore, LogStore, ObjectLedger } from './log-contract.ts';

export type { Lease, LeaseStore, LogSeal, LogSession, LogStep, LogStore, LogTile, ObjectLedger, ObjectMismatch, PendingRecord, StoredCheckpoint } from './log-contract.ts';

/**
 * The store's ports, one per noun. Every method is one transaction and resolves when it is durable (fdatasync done), so a
 * caller that has its answer may act on it. Audit events given to a method are recorded in that same transaction. Methods
 * throw PkiError: NOT_FOUND, ALREADY_EXISTS, CONFLICT (compare-and-set lost), STORE_*. Nothing is retried inside, except
 * by an engine whose serialisation failures are transient. Calls may be made concurrently; they are applied in some order.
 * Calls that wait together may share one commit; each stays atomic by itself. After `close`: SHUTTING_DOWN.
 * An `expiresAt` is the first second in which the object no longer holds; a certificate's notAfter is its last (inclusive).
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
  /** Writes a consistent copy of the database, as of some moment during the call, to a file that must not exist. Writers go on meanwhile. */
  backup(path: string): Promise<void>;
  /** Called for each durable commit. Returns the unsubscribe function. */
  onCommit(listener: (commit: CommitFacts) => void): () => void;
  /** Why nothing is read or written any more: a commit could not be made durable. The server must be started again. */
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
 * A page by key: `after` is the last key of the page before (opaque to callers), never an offset. A size outside 1 to 1,000
 * is brought inside; an `after` that no page gave is INVALID_REQUEST.
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
   * Ends intents in one commit. For `signed`: re-checks `rights` inside the transaction; if they stand the certificate is
   * `issued` with its audit event, else `withheld` with the code that says which right ended. Marks `replaces` as replaced.
   * Outcomes in the order of the items. An intent that is no longer in state `intent`, or never was, gives `withheld`
   * (CONFLICT) and stays as it is. Whatever is withheld has its event on record as `noun.withheld` with code and reason.
   * `replaces` counts only for a certificate of the same holder.
   */
  finish(items: readonly FinishItem[]): Promise<readonly FinishOutcome[]>;
  /** The recorded certificate for the same requester, request ID and key, if issued. */
  findRequest(requester: string, requestId: string, publicKeySha256: string): Promise<CertificateRecord | undefined>;
  findRequests(keys: readonly { readonly requester: string; readonly requestId: string; readonly publicKeySha256: string }[]): Promise<readonly (CertificateRecord | undefined)[]>;
  /** Turns every intent into `abandoned` (at start, before anything signs); audits each. Returns them. */
  abandonIntents(reason: string, nowMs: number): Promise<readonly CertificateRecord[]>;
  /** Serials reported by holders as replaced and read; those not of this holder, or not marked as replaced, are passed over. */
  confirmReplaced(holder: string, serials: readonly string[], now: number): Promise<void>;
  /**
   * The keys of all certificates of that holder and kind but one are gone, with the process that had made them: issued and
   * abandoned ones count as replaced.
   */
  confirmGone(holder: string, kind: CertificateKind, except: string, now: number): Promise<void>;
  /**
   * A JWT-SVID after signing, before release: re-checks rights, records jti and audit event in one commit per batch.
   */
  recordJwtSvids(items: readonly JwtSvidRecord[]): Promise<readonly FinishOutcome[]>;
  /** Raises the durable highest expiry of a JWT authority, before anything with that expiry is signed. No-op if already at or above. */
  raiseJwtExpiry(authorityId: string, expiresAt: number): Promise<void>;
}

export type FinishItem =
  | { readonly kind: 'signed'; readonly serial: string; readonly certificateDer: Buffer; readonly sha256: string; readonly rights: Rights; readonly event: AuditEvent }
  | { readonly kind: 'refused'; readonly serial: string; readonly code: ErrorCode; readonly event: AuditEvent }
  | { readonly kind: 'abandoned'; readonly serial: string; readonly reason: string; readonly event: AuditEvent };

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
  list(filter: CertificateFilter, order: 'created' | 'expiry', page: PageRequest): Promise<Page<CertificateRecord>>;
  /** Issued or abandoned, not expired, and not confirmed as replaced. */
  countLive(filter: CertificateFilter, now: number): Promise<number>;
  /** Latest notAfter of live certificates, or 0. */
  lastNotAfter(filter: CertificateFilter, now: number): Promise<number>;
  /** A self-made record of a certificate that is not issued through intents of a requester (an authority's own). */
  countByState(): Promise<Readonly<Record<CertificateState, number>>>;
}

export interface AuthorityStore {
  /** State `preparing`, durable before its key is generated. */
  create(authority: Authority, event: AuditEvent, lease?: Lease): Promise<void>;
  /**
   * preparing → prepared, once the key exists and the certificate is signed. `certificate`: its row for the inventory
   * (kind `authority`), inserted in the same transaction; absent for JWT keys, and for authorities whose token is `external`:
   * what others signed for themselves is not in our inventory. `parentId` sets a parent that was not known at `create`.
   */
  complete(id: string, version: number, made: { readonly spkiDer: Buffer; readonly certificateDer: Buffer | null; readonly subjectKeyId: string | null; readonly notBefore: number; readonly notAfter: number; readonly parentId?: string }, event: AuditEvent, lease?: Lease): Promise<Authority>;
  /** Compare-and-set on version; an illegal transition throws CONFLICT naming the legal ones. Moves the revision. */
  transition(id: string, version: number, to: AuthorityState, now: number, event: AuditEvent, context?: TransitionContext): Promise<Authority>;
  /** What an active one signs for. Compare-and-set on version. Moves the revision. */
  rescope(id: string, version: number, scope: AuthorityScope, event: AuditEvent, lease?: Lease): Promise<Authority>;
  byId(id: string): Promise<Authority | undefined>;
  /** Not paged: there are few. Oldest first. */
  list(filter?: { readonly kind?: AuthorityKind; readonly states?: readonly AuthorityState[] }): Promise<readonly Authority[]>;
  /** Highest expiry of JWT-SVIDs that this authority may have signed. */
  highestJwtExpiry(id: string): Promise<number>;
}

/** Who was counted before an authority signed; written by the transition itself. What is read here proves nothing until it was compared with the log. */
export interface EvidenceStore {
  /** SHA-256 of the statement that the log commits to for the newest activation of this authority; undefined: it knows of none. From memory. */
  expected(authorityId: string): string | undefined;
  statement(sha256: string): Promise<Buffer | undefined>;
  /** The part of that number (from 0). */
  chunk(sha256: string, index: number): Promise<Buffer | undefined>;
  /** Tells whoever listens on `objects.onMismatch` that this list is not as the log has it. */
  altered(authorityId: string): void;
}

export interface TransitionContext {
  /** The transition happens only while this lease's fence is the present one (LEASE_LOST). */
  readonly lease?: Lease;
  readonly scope?: AuthorityScope;
  readonly taintWindowSeconds?: number;
  /** Who was counted before it signs: kept in the same transaction; the event's detail holds its SHA-256 as `evidence`. */
  readonly evidence?: ActivationEvidence;
}

/** Goals of rotation, and what a decision on them is made from. */
export interface RotationStore {
  /** CONFLICT when one of its kind is under way. */
  create(operation: RotationOperation, event: AuditEvent, lease?: Lease): Promise<void>;
  /** Compare-and-set on version. */
  update(id: string, version: number, change: { readonly state?: RotationOperation['state']; readonly spec?: RotationOperation['spec'] }, now: number, event: AuditEvent, lease?: Lease): Promise<RotationOperation>;
  byId(id: string): Promise<RotationOperation | undefined>;
  /** Newest first; `underWay`: those that are running or paused. */
  list(filter: { readonly underWay: boolean }): Promise<readonly RotationOperation[]>;
  /** What each authority may have signed for others, CAs downstream that were not revoked among them: latest notAfter of anything issued, abandoned or in the making that has not been over for longer than the margin, and how many are live. */
  signedBy(now: number, marginSeconds: number): Promise<ReadonlyMap<string, { readonly lastExpiry: number; readonly live: number; readonly liveUnreported: number }>>;
  /** Of every holder with a leaf that is not expired: latest notAfter. */
  lastNotAfterByHolder(now: number): Promise<ReadonlyMap<string, number>>;
  /** Leaves, and certificates of CAs downstream, of holders that are no agents: given up to `since`, and in all. */
  unheld(since: number, now: number): Promise<{ readonly waiting: number; readonly total: number; readonly until: number }>;
  /** Of leaves of holders that are no agents, given up to `since` and not over then: the latest notAfter before `now`, or 0. */
  reliedExpiry(since: number, now: number): Promise<number>;
  /** Consumers of all agents: of those that have reported to this process what they said, else what the database has, without `heardAt`. */
  consumers(): Promise<readonly ConsumerRecord[]>;
  /** See ClockGuard. */
  clockAnchor(): Promise<{ readonly bootId: string; readonly uptimeMs: number; readonly wallMs: number } | undefined>;
  setClockAnchor(anchor: { readonly bootId: string; readonly uptimeMs: number; readonly wallMs: number }): Promise<void>;
}

export interface BundleStore {
  /** Appends the next revision (sequence = last + 1, else CONFLICT). Moves the store's revision. */
  append(revision: BundleRevision, event: AuditEvent): Promise<void>;
  latest(): Promise<BundleRevision | undefined>;
  /** Those with a higher sequence, in order. */
  since(sequence: number): Promise<readonly BundleRevision[]>;
}

export interface EntryFilter {
  readonly spiffeId?: string;
  readonly parentId?: string;
  /** `type:value`: entries that have this selector among theirs. */
  readonly selector?: string;
}

export interface EntryChange {
  readonly action: 'create' | 'update' | 'delete';
  readonly before: RegistrationEntry | undefined;
  readonly after: RegistrationEntry | undefined;
}

export interface EntryWrite {
  readonly action: 'create' | 'update' | 'delete';
  /** For `delete` only its ID counts. */
  readonly id: string;
  readonly draft?: EntryDraft;
  /** Compare-and-set for update and delete, 0: whatever is there. */
  readonly revision: number;
  readonly event: AuditEvent;
}

export interface EntryStore {
  /**
   * All or nothing, in one transaction and one revision. Refuses (ALREADY_EXISTS) an ID that is taken, and a second entry
   * with the same SPIFFE ID, parent and selectors. The domain's rules are checked by the caller, except those that need the
   * transaction: `guard` runs inside it, before the writes, with the present state and may throw. It may run more than once.
   * Writes are applied in their order; two entries may swap what they state.
   */
  write(writes: readonly EntryWrite[], context: { readonly now: number; readonly createdBy: string }, guard?: (view: EntryView) => void): Promise<readonly EntryChange[]>;
  byId(id: string): Promise<RegistrationEntry | undefined>;
  byIds(ids: readonly string[]): Promise<readonly RegistrationEntry[]>;
  list(filter: EntryFilter, page: PageRequest): Promise<Page<RegistrationEntry>>;
  /** Entries whose parent is one of these. Paged by key. */
  byParents(parentIds: readonly string[], page: PageRequest): Promise<Page<RegistrationEntry>>;
  /** Entries with the server as parent: definitions of node sets. */
  nodeSets(serverId: string): Promise<readonly RegistrationEntry[]>;
  /**
   * What changed for these parents after `revision`: entries now present, and IDs that are gone or moved to another parent.
   * `undefined`: too old (pruned), from the future, or more than is good for one answer (5,000): take a snapshot in pages.
   * Complete up to and including the returned position. May name IDs as removed that this reader never saw.
   */
  changes(parentIds: readonly string[], revision: number): Promise<{ readonly upserts: readonly RegistrationEntry[]; readonly removedIds: readonly string[]; readonly position: Position } | undefined>;
  /**
   * The parents for which `changes` would answer something after `revision`: those of entries created, updated, deleted or
   * moved (both parents), each once; the server's ID stands for node sets. One cheap read of the change log, so that a
   * change costs one query and not one per connected agent. `undefined`: too old (pruned). Complete up to the position.
   */
  changedParents(revision: number): Promise<{ readonly parentIds: readonly string[]; readonly position: Position } | undefined>;
  count(): Promise<number>;
}

/** Synchronous reads inside the transaction. */
export interface EntryView {
  byId(id: string): RegistrationEntry | undefined;
  bySpiffeId(spiffeId: string): readonly RegistrationEntry[];
  templates(): readonly RegistrationEntry[];
  /** Entries that are no templates and whose SPIFFE ID starts with `prefix` (a range of the index, read lazily). */
  statedBelow(prefix: string): Iterable<RegistrationEntry>;
}

export interface AgentAttestation {
  readonly agent: Omit<Agent, 'generation' | 'state' | 'stateReason' | 'lastSeenAt' | 'survivedOutageSeconds'>;
  /** `renew` keeps the generation; the two others start a new session. */
  readonly act: 'attest' | 'recover' | 'renew';
  /** For `renew` and `recover`: the generation that must still stand. */
  readonly generation?: number;
  readonly tokenId?: string;
  readonly event: AuditEvent;
}

export interface AgentStore {
  /**
   * Records a (re-)attestation or renewal after its SVID was issued: refused with AGENT_BANNED, AGENT_EVICTED or
   * AGENT_SUPERSEDED when that no longer stands. Binds the join token's result in the same transaction: JOIN_TOKEN_INVALID
   * when it is of another agent or key, CONFLICT when it led to another serial already (give that one to the caller).
   */
  record(attestation: AgentAttestation): Promise<Agent>;
  byId(spiffeId: string): Promise<Agent | undefined>;
  list(filter: { readonly state?: AgentState }, page: PageRequest): Promise<Page<Agent>>;
  /** Ban or evict: adds one to the generation and moves the revision. */
  setState(spiffeId: string, state: AgentState, reason: string, event: AuditEvent): Promise<Agent>;
  /** Not audited, not durable at once: may be coalesced by the engine. */
  seen(spiffeId: string, seen: { readonly at: number; readonly version?: string; readonly survivedOutageSeconds?: number }): void;
  replaceConsumers(agentId: string, consumers: readonly ConsumerRecord[]): Promise<void>;
  updateConsumers(agentId: string, changed: readonly ConsumerRecord[], removedIds: readonly string[]): Promise<void>;
  consumers(agentId: string): Promise<readonly ConsumerRecord[]>;
}

export interface JoinTokenStore {
  create(token: JoinToken, event: AuditEvent): Promise<void>;
  byHash(tokenSha256: string): Promise<JoinToken | undefined>;
  /** Binds the first public key; returns the token as it now is (bound to whichever key came first). JOIN_TOKEN_INVALID when expired at `now`. */
  bind(id: string, publicKeySha256: string, now: number): Promise<JoinToken>;
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
  /** Events that belong to no other write: refusals of authenticated callers and summaries. One commit per batch. */
  append(events: readonly AuditEvent[]): Promise<void>;
  list(filter: AuditFilter, page: PageRequest): Promise<Page<AuditRecord>>;
  count(): Promise<number>;
}

export interface MetaStore {
  /** The trust domain this database belongs to; set once. */
  trustDomain(): Promise<string | undefined>;
  /** First start: writes trust domain and a new epoch. Throws TRUST_DOMAIN_CHANGED when another one stands there. */
  claim(trustDomain: string, now: number): Promise<Position>;
  position(): Promise<Position>;
  /** After a restore: what agents know of the past no longer counts. */
  renewEpoch(now: number): Promise<Position>;
}

export type { RetentionStore } from './retention-contract.ts';
export type { RevocationStore } from './revocation-contract.ts';
