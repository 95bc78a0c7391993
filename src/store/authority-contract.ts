import type { ActivationEvidence } from '../common/tlog/index.ts';
import type {
  AuditEvent,
  Authority,
  AuthorityKind,
  AuthorityScope,
  AuthorityState,
  BundleRevision,
  ConsumerRecord,
  RotationOperation,
} from '../domain/index.ts';
import type { Lease } from './log-contract.ts';

export interface AuthorityStore {
  /** State `preparing`, durable before its key is generated. */
  create(authority: Authority, event: AuditEvent, lease?: Lease): Promise<void>;
  /**
   * preparing → prepared, once the key exists and the certificate is signed. `certificate`: its row
   * for the inventory (kind `authority`), inserted in the same transaction; absent for JWT keys,
   * and for authorities whose token is `external`: what others signed for themselves is not in our
   * inventory. `parentId` sets a parent that was not known at `create`.
   */
  complete(
    id: string,
    version: number,
    made: {
      readonly spkiDer: Buffer;
      readonly certificateDer: Buffer | null;
      readonly subjectKeyId: string | null;
      readonly notBefore: number;
      readonly notAfter: number;
      readonly parentId?: string;
    },
    event: AuditEvent,
    lease?: Lease,
  ): Promise<Authority>;
  /**
   * Compare-and-set on version; an illegal transition throws CONFLICT naming the legal ones. Moves
   * the revision.
   */
  transition(
    id: string,
    version: number,
    to: AuthorityState,
    now: number,
    event: AuditEvent,
    context?: TransitionContext,
  ): Promise<Authority>;
  /** What an active one signs for. Compare-and-set on version. Moves the revision. */
  rescope(
    id: string,
    version: number,
    scope: AuthorityScope,
    event: AuditEvent,
    lease?: Lease,
  ): Promise<Authority>;
  byId(id: string): Promise<Authority | undefined>;
  /** Not paged: there are few. Oldest first. */
  list(filter?: {
    readonly kind?: AuthorityKind;
    readonly states?: readonly AuthorityState[];
  }): Promise<readonly Authority[]>;
  /** Highest expiry of JWT-SVIDs that this authority may have signed. */
  highestJwtExpiry(id: string): Promise<number>;
}

/**
 * Who was counted before an authority signed; written by the transition itself. What is read here
 * proves nothing until it was compared with the log.
 */
export interface EvidenceStore {
  /**
   * SHA-256 of the statement that the log commits to for the newest activation of this authority;
   * undefined: it knows of none. From memory.
   */
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
  /**
   * Who was counted before it signs: kept in the same transaction; the event's detail holds its
   * SHA-256 as `evidence`.
   */
  readonly evidence?: ActivationEvidence;
}

/** Goals of rotation, and what a decision on them is made from. */
export interface RotationStore {
  /** CONFLICT when one of its kind is under way. */
  create(operation: RotationOperation, event: AuditEvent, lease?: Lease): Promise<void>;
  /** Compare-and-set on version. */
  update(
    id: string,
    version: number,
    change: {
      readonly state?: RotationOperation['state'];
      readonly spec?: RotationOperation['spec'];
    },
    now: number,
    event: AuditEvent,
    lease?: Lease,
  ): Promise<RotationOperation>;
  byId(id: string): Promise<RotationOperation | undefined>;
  /** Newest first; `underWay`: those that are running or paused. */
  list(filter: { readonly underWay: boolean }): Promise<readonly RotationOperation[]>;
  /**
   * What each authority may have signed for others, CAs downstream that were not revoked among
   * them: latest notAfter of anything issued, abandoned or in the making that has not been over for
   * longer than the margin, and how many are live.
   */
  signedBy(
    now: number,
    marginSeconds: number,
  ): Promise<
    ReadonlyMap<
      string,
      { readonly lastExpiry: number; readonly live: number; readonly liveUnreported: number }
    >
  >;
  /** Of every holder with a leaf that is not expired: latest notAfter. */
  lastNotAfterByHolder(now: number): Promise<ReadonlyMap<string, number>>;
  /**
   * Leaves, and certificates of CAs downstream, of holders that are no agents: given up to `since`,
   * and in all.
   */
  unheld(
    since: number,
    now: number,
  ): Promise<{ readonly waiting: number; readonly total: number; readonly until: number }>;
  /**
   * Of leaves of holders that are no agents, given up to `since` and not over then: the latest
   * notAfter before `now`, or 0.
   */
  reliedExpiry(since: number, now: number): Promise<number>;
  /**
   * Consumers of all agents: of those that have reported to this process what they said, else what
   * the database has, without `heardAt`.
   */
  consumers(): Promise<readonly ConsumerRecord[]>;
  /** See ClockGuard. */
  clockAnchor(): Promise<
    { readonly bootId: string; readonly uptimeMs: number; readonly wallMs: number } | undefined
  >;
  setClockAnchor(anchor: {
    readonly bootId: string;
    readonly uptimeMs: number;
    readonly wallMs: number;
  }): Promise<void>;
}

export interface BundleStore {
  /** Appends the next revision (sequence = last + 1, else CONFLICT). Moves the store's revision. */
  append(revision: BundleRevision, event: AuditEvent): Promise<void>;
  latest(): Promise<BundleRevision | undefined>;
  /** Those with a higher sequence, in order. */
  since(sequence: number): Promise<readonly BundleRevision[]>;
}
