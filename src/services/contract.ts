import type { ErrorCode, PkiError } from '../common/errors/index.ts';
import type { Selector } from '../common/spiffe/index.ts';
import type { KeyType } from '../common/x509/key-type.ts';
import type {
  Agent, AgentState, AuditRecord, Authority, AuthorityKind, AuthorityState, BundleRevision, CertificateRecord, ConsumerRecord, CrlStanding, Delegation, EntryDraft,
  JoinToken, Position, RegistrationEntry, Revocation, Role, RotatedKind, RotationSpec, Shares,
} from '../domain/index.ts';
import type { IssuedJwt, IssuedLeaf } from '../issuance/contract.ts';
import type { ImportedCrl } from '../issuance/crl-import.ts';
import type { RotationState } from '../issuance/rotation/controller.ts';
import type { AuthorityRequest, ImportedAuthority } from '../issuance/sources/contract.ts';
import type { DownstreamAuthority } from '../issuance/sources/downstream.ts';
import type { AuditFilter, CertificateFilter, EntryChange, EntryFilter, Page, PageRequest } from '../store/contract.ts';
import type { ApprovalGate, Approvals, ApprovalSights } from './approvals/index.ts';
import type { AgentCaller, AnonymousCaller, Caller, CertificateCaller, DelegateCaller, LocalCaller, OperatorCaller, WorkloadCaller } from './caller.ts';

/**
 * What the front calls. Every method takes its caller first and decides itself whether that caller may: the front's table
 * of classes is the first fence, this is the second. Methods throw PkiError with a stable code; batches answer per item.
 * A refusal of an authenticated caller is on record before the error is thrown; see Refusals.
 */
export interface Services {
  readonly callers: Callers;
  readonly refusals: Refusals;
  readonly attestation: NodeAttestation;
  readonly svids: Svids;
  readonly sync: Sync;
  readonly signing: Signing;
  readonly downstream: Downstream;
  readonly entries: Entries;
  readonly agents: Agents;
  readonly tokens: Tokens;
  readonly delegations: Delegations;
  readonly roles: Roles;
  readonly approvals: Approvals;
  readonly gate: ApprovalGate;
  readonly sights: ApprovalSights;
  readonly authorities: AuthorityViews;
  readonly authoritySources: AuthoritySourcing;
  readonly rotation: Rotation;
  readonly crls: CrlViews;
  readonly certificates: Certificates;
  readonly revocations: Revocations;
  readonly mint: Mint;
  readonly audit: Audit;
  readonly status: Status;
  readonly backup: Backup;
  readonly restore: Restore;
}

// ── callers ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** The certificate with which the peer proved its key in this TLS connection. */
export interface PeerCertificate {
  /** Lower-case hex without a leading zero octet, as ParsedCertificate.serialHex. */
  readonly serial: string;
  /** SHA-256 of the certificate's DER, lower-case hex. */
  readonly sha256: string;
}

export interface Callers {
  anonymous(peer: string): AnonymousCaller;
  /** Throws CALLER_NOT_ADMITTED for a uid other than 0, the server's, or a configured one. */
  local(credentials: { readonly uid: number; readonly gid: number; readonly pid: number }): LocalCaller;
  /**
   * The caller behind a certificate, once per connection. Throws CERTIFICATE_UNKNOWN, CERTIFICATE_EXPIRED, CHAIN_UNTRUSTED
   * (its root left the bundle), AGENT_BANNED, AGENT_EVICTED, AGENT_SUPERSEDED. A certificate that does not stand is an error,
   * never an anonymous caller.
   */
  resolve(certificate: PeerCertificate, peer: string): Promise<CertificateCaller>;
  /**
   * The caller as it is now, for every call on its connection; throws as `resolve`. The class may have changed (a delegation
   * came or went), so use the answer. Costs no query unless something has changed since the last time.
   */
  stillStands(caller: CertificateCaller): Promise<CertificateCaller>;
  /**
   * Called when callers lose their standing other than by expiry: the front closes their connections and streams. `match`
   * tells for each connection; for `recheck` it calls `stillStands` for each (a root left the bundle).
   */
  onEnded(listener: (ended: EndedCallers) => void): () => void;
}

export type EndedCallers =
  | { readonly kind: 'identity'; readonly spiffeId: string; /** Those of an earlier generation; absent: all. */ readonly beforeGeneration?: number; readonly error: PkiError }
  | { readonly kind: 'recheck' };

// ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────

export interface Refusals {
  /**
   * Records that a call was refused, once per error object (services have usually done it). An authenticated caller's refusal
   * becomes a `request.refused` record, durable on return; beyond a rate per caller, and for every anonymous caller, it is
   * counted and summarised once a minute. Returns the refusal ID for the trailer. Errors that are no refusals (NOT_FOUND,
   * UNAVAILABLE, INTERNAL …) get an ID and no record. Never throws.
   */
  refused(caller: Caller, operation: string, error: PkiError, subject?: string): Promise<string>;
  /** The ID given to this error, if it was recorded. */
  idOf(error: PkiError): string | undefined;
  /** Counts without a caller: failed handshakes, connections over the limit. */
  count(operation: string, code: ErrorCode): void;
  /** Writes the pending summary; called once a minute by the service itself, and at shutdown. */
  flush(): Promise<void>;
}

// ── node attestation ──────────────────────────────────────────────────────────────────────────────────────────────

export interface AttestPeer {
  /** Network address, for logs and the record. */
  readonly peer: string;
  /** SHA-256 of the DER of the certificate that the server presented in this very connection. */
  readonly serverCertificateSha256: Buffer;
}

export interface AttestStart {
  readonly protocolVersion: number;
  readonly agentVersion: string;
  readonly requestId: string;
  readonly csrDer: Buffer;
  readonly method:
    | { readonly type: 'join_token'; readonly token: string }
    | { readonly type: 'x509pop'; readonly chainDer: readonly Buffer[] }
    | { readonly type: 'expired_svid'; readonly spiffeId: string; readonly serial: string };
}

export type AttestStep =
  | { readonly kind: 'challenge'; readonly nonce: Buffer; readonly trustDomainName: string; readonly serverCertificateSha256: Buffer }
  | { readonly kind: 'svid'; readonly svid: AgentSvid };

export interface AgentSvid {
  readonly leaf: IssuedLeaf;
  readonly bundle: BundleRevision;
}

/** One Attest stream: `start`, then `answer` if it gave a challenge. Each once; the nonce dies with the exchange. */
export interface AttestExchange {
  start(start: AttestStart): Promise<AttestStep>;
  answer(signature: Buffer): Promise<AttestStep>;
  /** The stream ended; always called, frees the slot of a pending challenge. */
  close(): void;
}

export interface NodeAttestation {
  /** The bundle revisions after a sequence; RATE_LIMITED, together with attestation. They are public. */
  bundleSteps(sequence: number): Promise<readonly BundleRevision[]>;
  /** Throws RATE_LIMITED or OVERLOADED before any work. */
  open(peer: AttestPeer): AttestExchange;
  renew(caller: AgentCaller, request: { readonly requestId: string; readonly csrDer: Buffer; readonly agentVersion: string }): Promise<AgentSvid>;
}

// ── SVIDs for agents ──────────────────────────────────────────────────────────────────────────────────────────────

export type SvidOutcome =
  | { readonly ok: true; readonly requestId: string; readonly leaf: IssuedLeaf }
  | { readonly ok: false; readonly requestId: string; readonly error: PkiError; readonly refusalId: string };

export interface X509SvidItem {
  readonly requestId: string;
  readonly entryId: string;
  readonly csrDer: Buffer;
  /** 0: as the entry says. */
  readonly ttlSeconds: number;
  readonly selectors: readonly Selector[];
  /** Serial, or empty. */
  readonly replacesSerial: string;
}

export interface JwtSvidAsk {
  readonly requestId: string;
  readonly entryId: string;
  readonly audience: readonly string[];
  /** 0: as the entry says. */
  readonly ttlSeconds: number;
  readonly selectors: readonly Selector[];
}

export interface Svids {
  /** Up to 500 items, outcomes in their order. Throws only for the whole: REQUEST_TOO_LARGE, RATE_LIMITED, or the caller lost its standing. */
  signX509(caller: AgentCaller, items: readonly X509SvidItem[]): Promise<readonly SvidOutcome[]>;
  signJwt(caller: AgentCaller, ask: JwtSvidAsk): Promise<IssuedJwt & { readonly spiffeId: string; readonly serverTime: number }>;
}

// ── signing API for delegates ─────────────────────────────────────────────────────────────────────────────────────

export interface DelegatedItem {
  readonly requestId: string;
  readonly spiffeId: string;
  readonly dnsNames: readonly string[];
  readonly csrDer: Buffer;
  /** 0: the delegation's maximum, or what the profile allows if that is less. */
  readonly ttlSeconds: number;
}

export interface Signing {
  /** Up to 500 items, outcomes in their order; a unary call is one item. `rootsDer`: the bundle. */
  sign(caller: DelegateCaller, items: readonly DelegatedItem[]): Promise<{ readonly outcomes: readonly SvidOutcome[]; readonly rootsDer: readonly Buffer[] }>;
  delegation(caller: DelegateCaller): Promise<{
    readonly delegationIds: readonly string[]; readonly patterns: readonly string[]; readonly maxTtlSeconds: number; readonly keyTypes: readonly KeyType[];
  }>;
}

// ── CAs downstream ────────────────────────────────────────────────────────────────────────────────────────────────

export interface Downstream {
  /**
   * The certificate of a CA for the workload that calls, if the entry of its SVID allows that now. `ttlSeconds` 0: as long as
   * allowed. Throws DOWNSTREAM_NOT_ALLOWED, AGENT_BANNED, AGENT_EVICTED, RATE_LIMITED, OVERLOADED, and what signing a downstream
   * authority throws.
   */
  sign(caller: WorkloadCaller | DelegateCaller, input: { readonly requestId: string; readonly csrDer: Buffer; readonly ttlSeconds: number }): Promise<DownstreamAuthority & { readonly rootsDer: readonly Buffer[] }>;
}

// ── sync ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface SyncHello {
  readonly protocolVersion: number;
  readonly agentVersion: string;
  readonly capabilities: readonly string[];
  /** undefined: a snapshot is needed. */
  readonly position: Position | undefined;
  readonly bundleSequence: number;
  readonly survivedOutageSeconds: number;
  /** The newest checkpoint of the audit log that the agent holds; empty: none. */
  readonly logCheckpoint?: string;
}

/** What goes down. One object may go to thousands of sessions: encode it once (WeakMap by identity), and never change it. */
export type SyncMessage =
  | { readonly kind: 'welcome'; readonly protocolVersion: number; readonly capabilities: readonly string[]; readonly epoch: string; readonly serverTime: number; readonly serverVersion: string }
  | {
      readonly kind: 'entries'; readonly snapshotBegin: boolean; readonly snapshotEnd: boolean; readonly upserts: readonly RegistrationEntry[];
      readonly removedIds: readonly string[]; /** Absent inside a snapshot. */ readonly position: Position | undefined;
    }
  | { readonly kind: 'bundles'; readonly steps: readonly BundleRevision[] }
  | {
      readonly kind: 'authorities'; readonly tainted: readonly { readonly authorityId: string; readonly subjectKeyId: string; readonly windowSeconds: number; readonly taintedAt: number }[];
      /** Issuing authorities that may sign, now or next: from the authority up, without the root. */
      readonly published: readonly { readonly authorityId: string; readonly chainDer: readonly Buffer[] }[];
      readonly crls: readonly { readonly authorityId: string; readonly der: Buffer; readonly nextUpdate: number }[];
    }
  | { readonly kind: 'checkpoint'; readonly note: string };

/**
 * The front's half of one Sync stream. Backpressure: `send` always takes the message and answers whether more may follow at
 * once (the transport's `write`). After `false` the service sends nothing until `SyncConnection.drained`; it queues nothing
 * meanwhile but remembers *that* something changed, and then sends the newest state from the position the session has.
 */
export interface SyncSession {
  send(message: SyncMessage): boolean;
  /** The service ends the session; the front ends the stream with this error and calls `closed`. */
  close(error: PkiError): void;
}

export interface ConsumerState {
  readonly id: string;
  readonly kind: string;
  readonly spiffeId: string;
  /** Digests in hex, empty where it can't tell. */
  readonly authoritySetDigest: string;
  readonly jwtSetDigest: string;
  readonly issuerSetDigest: string;
  readonly capabilities: readonly string[];
  readonly state: string;
  readonly reason: string;
  readonly since: number;
  readonly description: string;
}

/** TLS handshakes as one consumer saw them with peers under one issuer key (hex, may be empty), counted since `since`. */
export interface HandshakeReport {
  readonly spiffeId: string;
  readonly consumerId: string;
  readonly issuerKeyId: string;
  readonly succeeded: number;
  readonly failed: number;
  readonly reasons: Readonly<Record<string, number>>;
  readonly since: number;
}

export interface SyncConnection {
  /** Throws INVALID_REQUEST or REQUEST_TOO_LARGE: close the stream with it. Call in the order received, awaiting each. */
  consumers(report: { readonly snapshot: boolean; readonly consumers: readonly ConsumerState[]; readonly removedIds: readonly string[] }): Promise<void>;
  replaced(serials: readonly string[]): Promise<void>;
  handshakes(reports: readonly HandshakeReport[]): Promise<void>;
  drained(): void;
  /** The stream is over, from either side. Idempotent. */
  closed(): void;
}

export interface Sync {
  /** One session per agent: an earlier one is closed with AGENT_SUPERSEDED. Nothing is sent before this has resolved. */
  open(caller: AgentCaller, hello: SyncHello, session: SyncSession): Promise<SyncConnection>;
  connectedCount(): number;
  isConnected(agentId: string): boolean;
  /** Ends every session with SHUTTING_DOWN and stops listening to the store. */
  close(): void;
}

// ── administration ────────────────────────────────────────────────────────────────────────────────────────────────

export type EntryResult = { readonly ok: true; readonly id: string; readonly entry: RegistrationEntry } | { readonly ok: false; readonly id: string; readonly error: PkiError };

/** An entry as a creator states it. `id` empty: the server gives one. `isTemplate` is derived, selectors come in any order. */
export type EntryInput = Omit<EntryDraft, 'isTemplate'>;

export interface Entries {
  /** Per item; up to 500. */
  create(caller: OperatorCaller, inputs: readonly EntryInput[]): Promise<readonly EntryResult[]>;
  get(caller: OperatorCaller, id: string): Promise<RegistrationEntry>;
  /** Only what the caller's roles may read; a page may hold fewer than `size`. */
  list(caller: OperatorCaller, filter: EntryFilter, page: PageRequest): Promise<Page<RegistrationEntry>>;
  /** Replaces it whole. `revision` other than 0 must be the present one (CONFLICT). */
  update(caller: OperatorCaller, input: EntryInput, revision: number): Promise<RegistrationEntry>;
  delete(caller: OperatorCaller, ids: readonly string[]): Promise<readonly EntryResult[]>;
  /** All or nothing. Entries are matched by ID, those without by SPIFFE ID, parent and selectors. `prune` deletes all others that the caller may write. */
  apply(caller: OperatorCaller, inputs: readonly EntryInput[], options: { readonly prune: boolean; readonly dryRun: boolean }): Promise<{
    readonly changes: readonly EntryChange[]; readonly unchanged: number; readonly applied: boolean;
  }>;
}

export interface AgentView extends Agent {
  readonly connected: boolean;
}

export interface AgentDetail {
  readonly agent: AgentView;
  readonly parentIds: readonly string[];
  /** The first 500 of the blast radius. */
  readonly obtainable: readonly RegistrationEntry[];
  readonly obtainableTotal: number;
  readonly liveCertificates: number;
  readonly lastNotAfter: number;
  readonly consumers: readonly ConsumerRecord[];
}

export interface Agents {
  list(caller: OperatorCaller, filter: { readonly state?: AgentState }, page: PageRequest): Promise<Page<AgentView>>;
  get(caller: OperatorCaller, spiffeId: string): Promise<AgentDetail>;
  /** Durable, and its sessions are closed, on return. */
  ban(caller: OperatorCaller, spiffeId: string, reason: string): Promise<AgentView>;
  evict(caller: OperatorCaller, spiffeId: string, reason: string): Promise<AgentView>;
}

export interface Tokens {
  /** `token` is the secret: it is in this answer and nowhere else. `ttlSeconds` 0: the default. */
  create(caller: OperatorCaller, request: { readonly agentName: string; readonly ttlSeconds: number; readonly nodeSelectors: readonly string[] }): Promise<{
    readonly token: string; readonly record: JoinToken; /** SHA-256 of the newest root, hex. */ readonly bundleFingerprint: string;
  }>;
  list(caller: OperatorCaller, page: PageRequest): Promise<Page<JoinToken>>;
}

export interface DelegationInput {
  readonly clientId: string;
  readonly patterns: readonly string[];
  readonly maxTtlSeconds: number;
  /** Empty: all. */
  readonly keyTypes: readonly string[];
  readonly dnsPatterns: readonly string[];
  /** Empty: short-lived. */
  readonly profile: string;
  readonly expiresAt: number;
}

export interface Delegations {
  create(caller: OperatorCaller, input: DelegationInput): Promise<Delegation>;
  list(caller: OperatorCaller, filter: { readonly includeRevoked: boolean }, page: PageRequest): Promise<Page<Delegation>>;
  revoke(caller: OperatorCaller, id: string, reason: string): Promise<Delegation>;
}

export interface Roles {
  put(caller: OperatorCaller, role: { readonly name: string; readonly verbs: readonly string[]; readonly prefixes: readonly string[]; readonly members: readonly string[] }): Promise<Role>;
  list(caller: OperatorCaller, page: PageRequest): Promise<Page<Role>>;
  delete(caller: OperatorCaller, name: string): Promise<Role>;
}

export interface AuthorityView {
  readonly authority: Authority;
  readonly liveCertificates: number;
}

export interface CompromisePlan {
  readonly tainted: readonly string[];
  readonly replacesRoot: boolean;
  readonly consumersEnforcingCrl: number;
  readonly consumers: number;
  readonly live: number;
  readonly liveUnreported: number;
  /** Unix seconds; 0: nothing that it signed is valid. */
  readonly exposedUntil: number;
  readonly state: RotationState;
}

export interface RotateInput {
  readonly kind: RotatedKind;
  readonly reason: string;
  readonly force: boolean;
  readonly stopAfter?: 'prepared' | 'published';
  readonly shares?: Shares;
  readonly canary?: NonNullable<RotationSpec['canary']>;
  /** Issuing only: it signs on servers there alone, in the place of the one with this very scope, or of nobody. Default: everywhere. */
  readonly scope?: NonNullable<RotationSpec['scope']>;
}

/**
 * What operators do to authorities. Acts are durable on return and carried on by the controller; the answer is the state as
 * it is then. Verbs: authority.rotate, authority.taint, authority.revoke on the whole trust domain; authority.force beside them for `force`.
 */
export type EvidencePart =
  | { readonly part: 'statement'; readonly sha256: string; readonly statement: Buffer; /** Of its record; 0: not found. */ readonly sequence: number }
  | { readonly part: 'lines'; readonly lines: Buffer };

export interface Rotation {
  /** Throws CONFLICT while one of this kind is under way. */
  rotate(caller: OperatorCaller, input: RotateInput): Promise<RotationState>;
  proceed(caller: OperatorCaller, input: {
    readonly id?: string; readonly kind?: RotatedKind; readonly stopAfter?: 'prepared' | 'published'; readonly force: boolean; readonly reason: string; readonly shares?: Shares;
  }): Promise<RotationState>;
  withdraw(caller: OperatorCaller, id: string, reason: string): Promise<RotationState>;
  /** Where it is the last that signs, its successor is made first. `windowSeconds` 0: the default. */
  taint(caller: OperatorCaller, input: { readonly id: string; readonly windowSeconds: number; readonly reason: string; readonly force: boolean }): Promise<RotationState>;
  /** Throws AUTHORITY_IN_USE while leaves of it are live. */
  revoke(caller: OperatorCaller, input: { readonly id: string; readonly reason: string; readonly force: boolean }): Promise<RotationState>;
  /** What `compromise` would do. */
  planCompromise(caller: OperatorCaller, id: string): Promise<CompromisePlan>;
  /** Its key is in other hands. Needs authority.taint and authority.revoke. */
  compromise(caller: OperatorCaller, input: { readonly id: string; readonly windowSeconds: number; readonly reason: string; readonly force: boolean }): Promise<CompromisePlan>;
  acceptClock(caller: OperatorCaller, reason: string): Promise<RotationState>;
  status(caller: OperatorCaller): Promise<RotationState>;
  /** Who was counted when it last became active: the statement, then the parts of the list. Throws NOT_FOUND where the log knows of none, EVIDENCE_INVALID where it is another. */
  evidence(caller: OperatorCaller, id: string): Promise<AsyncIterable<EvidencePart>>;
  /** Calls with the state now and after each look; resolves to the unsubscribe function. */
  watch(caller: OperatorCaller, listener: (state: RotationState) => void): Promise<() => void>;
}

export interface BundleView {
  readonly trustDomainName: string;
  readonly rootsDer: readonly Buffer[];
  readonly bundle: BundleRevision;
  /** SHA-256 of each root's DER, hex, in the order of `rootsDer`. */
  readonly fingerprints: readonly string[];
}

/** Facts that stand beside the status of rotation, for whoever may read that. */
export interface CrlViews {
  standings(): readonly CrlStanding[];
  handedOut(): boolean;
}

export interface AuthorityViews {
  list(caller: OperatorCaller, filter: { readonly kind?: AuthorityKind; readonly state?: AuthorityState }): Promise<readonly AuthorityView[]>;
  get(caller: OperatorCaller, id: string): Promise<AuthorityView>;
  bundle(caller: OperatorCaller): Promise<BundleView>;
}

/** Issuing intermediates that another CA certifies, and those of another CA that we certify. All take every verb on the whole trust domain, or the local socket. */
export interface AuthoritySourcing {
  request(caller: OperatorCaller, input: { readonly id?: string; readonly keyType?: KeyType; readonly scope?: { readonly replica?: string; readonly region?: string } }): Promise<AuthorityRequest>;
  importChain(caller: OperatorCaller, input: { readonly id: string; readonly certificatesDer: readonly Buffer[]; readonly rootSha256?: string; readonly dryRun: boolean }): Promise<ImportedAuthority | { readonly warnings: readonly string[] }>;
  prepareUpstream(caller: OperatorCaller): Promise<ImportedAuthority>;
  signDownstream(caller: OperatorCaller, input: { readonly csrDer: Buffer; readonly issuerId?: string; readonly lifeSeconds: number; readonly requestId: string }): Promise<DownstreamAuthority>;
  /** Throws NOT_FOUND, AUTHORITY_UNFIT, CONFLICT, ALREADY_EXISTS. */
  crossSign(caller: OperatorCaller, input: { readonly fromId: string; readonly toId: string }): Promise<{ readonly authority: Authority; readonly inChains: boolean }>;
  /** Throws CRL_INVALID, CRL_ISSUER_UNKNOWN, CRL_NOT_CURRENT, CRL_NOT_NEWER, REQUEST_TOO_LARGE. */
  importCrl(caller: OperatorCaller, input: { readonly crlDer: Buffer; readonly dryRun: boolean }): Promise<ImportedCrl>;
}

export interface Certificates {
  list(caller: OperatorCaller, filter: CertificateFilter, order: 'created' | 'expiry', page: PageRequest): Promise<Page<CertificateRecord>>;
  get(caller: OperatorCaller, serial: string): Promise<CertificateRecord>;
}

export interface Revocations {
  /** Throws NOT_FOUND, REVOCATION_NOT_POSSIBLE (with what to do instead and when the certificate ends), CERTIFICATE_EXPIRED. Revoking twice is no error. */
  revoke(caller: OperatorCaller, serial: string, reason: string): Promise<{ readonly certificate: CertificateRecord; readonly revocation: Revocation }>;
  of(serial: string): Promise<Revocation | undefined>;
}

export interface Mint {
  mint(caller: OperatorCaller, request: {
    readonly requestId: string; readonly spiffeId: string; readonly dnsNames: readonly string[]; readonly csrDer: Buffer; /** 0: the default. */ readonly ttlSeconds: number; readonly admin: boolean;
  }): Promise<{ readonly leaf: IssuedLeaf; readonly rootsDer: readonly Buffer[] }>;
}

export interface Audit {
  list(caller: OperatorCaller, filter: AuditFilter, page: PageRequest): Promise<Page<AuditRecord>>;
  /** JSON lines of an export, some at a time. */
  export(caller: OperatorCaller, signal: AbortSignal): Promise<AsyncIterable<Buffer>>;
  /** Yields undefined once nothing more can be missed, then each record as it is committed. */
  watch(caller: OperatorCaller, filter: { readonly identity?: string; readonly kind?: string; readonly actor?: string }, signal: AbortSignal): Promise<AsyncIterable<{ readonly record: AuditRecord; readonly newHolder: boolean } | undefined>>;
}

export interface Backup {
  /** The database as it is now, in pieces; takes every verb on the whole trust domain, or the local socket. */
  read(caller: OperatorCaller, signal: AbortSignal): Promise<AsyncIterable<Buffer>>;
}

/** What a database that was put back lacks, as far as it is known, and what comes back with it. */
export interface RestoreView {
  /** Nothing is signed before it is accepted. */
  readonly stale: boolean;
  /** Records under checkpoints in the database, and under the newest checkpoint that is known. */
  readonly size: number;
  readonly expected: number;
  readonly foundBy: string;
  /** The lost records come from the replaced database, and they are those that were signed. */
  readonly proven: boolean;
  readonly lost: readonly LostAct[];
  readonly comingBack: readonly { readonly kind: 'token' | 'authority' | 'agent'; readonly id: string; readonly state: string }[];
  /** Agents in the database; only the first of them are named. */
  readonly agents: number;
}

export interface LostAct {
  readonly sequence: number;
  readonly timeMs: number;
  readonly actor: string;
  readonly kind: string;
  readonly subject: string;
}

/** Both take every verb on the whole trust domain, or the local socket. */
export interface Restore {
  show(caller: OperatorCaller): Promise<RestoreView>;
  /** `size`: `expected` as it was looked at. Throws CONFLICT when there is nothing to accept, or by another number. */
  accept(caller: OperatorCaller, size: number): Promise<RestoreView>;
}

export interface StatusView {
  readonly version: string;
  readonly trustDomainName: string;
  readonly startedAt: number;
  readonly ready: boolean;
  readonly reasons: readonly string[];
  readonly hsmStatus: string;
  readonly agentsConnected: number;
  readonly position: Position;
  readonly unfinishedIntents: number;
  readonly serverCertificateNotAfter: number;
}

export interface Status {
  get(caller: OperatorCaller): Promise<StatusView>;
}
