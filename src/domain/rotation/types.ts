import type { ConsumerRecord } from '../agent.ts';
import type { Authority, AuthorityKind, AuthorityScope } from '../authority.ts';

/** The kinds that are rotated with proof. */
export type RotatedKind = 'root' | 'issuing' | 'jwt';
export const rotatedKinds: readonly RotatedKind[] = ['root', 'issuing', 'jwt'];
export const isRotated = (kind: AuthorityKind): kind is RotatedKind =>
  (rotatedKinds as readonly string[]).includes(kind);

/**
 * An authority with what is known of the leaves that it, or an authority below it, may have signed.
 */
export interface AuthorityFacts {
  readonly authority: Authority;
  /**
   * Latest notAfter (inclusive) of any leaf or token below it that was or may have been signed; 0:
   * none.
   */
  readonly lastExpiry: number;
  /**
   * Leaves that are not expired and not confirmed as replaced at their holder; those that can't
   * report count until notAfter.
   */
  readonly live: number;
  /** Of these, the ones whose holder can't report a replacement. */
  readonly liveUnreported: number;
}

export interface AgentFacts {
  readonly id: string;
  readonly active: boolean;
  readonly connected: boolean;
  readonly lastSeenAt: number;
  /**
   * Of its own SVID and of every leaf issued through it (inclusive): until then it may come back
   * with a valid credential.
   */
  readonly lastLeafNotAfter: number;
}

/**
 * Certificates whose holder speaks to no agent: delegated, minted, of other servers. Counted from
 * one publication on.
 */
export interface UnheldFacts {
  /** Given before it, and not expired. */
  readonly waiting: number;
  readonly total: number;
  /** Latest notAfter of the waiting ones; 0: none. */
  readonly until: number;
}

/** Digest of a set (hex) to the IDs of the authorities in it. */
export type SetIndex = ReadonlyMap<string, ReadonlySet<string>>;

export interface RotationWorld {
  readonly agents: readonly AgentFacts[];
  readonly consumers: readonly ConsumerRecord[];
  /** By authority ID, for those in `published`. */
  readonly unheld: ReadonlyMap<string, UnheldFacts>;
  readonly sets: { readonly root: SetIndex; readonly jwt: SetIndex; readonly issuing: SetIndex };
  /**
   * Agents that are missing from the database, or stand there otherwise than in the log: who else
   * counts can't be told. Default 0.
   */
  readonly alteredAgents?: number;
}

export interface RotationPolicy {
  /** Longest leaf that an issuing authority signs. */
  readonly longestLeafSeconds: number;
  readonly longestJwtSeconds: number;
  /** Life that an issuing authority gets from its root. */
  readonly issuingLifeSeconds: number;
  /** The last moment to change is that much earlier than what the lives demand. */
  readonly marginSeconds: number;
  /** An authority stays that much longer than its last leaf, for clocks that run behind. */
  readonly retireMarginSeconds: number;
  /** Least time in `published`, for readers that nobody sees. */
  readonly unseenSeconds: { readonly root: number; readonly jwt: number };
  /**
   * Part of an authority's life after which its successor is prepared, 0..1; `undefined`: by hand
   * alone.
   */
  readonly prepareAtLifeFraction: number | undefined;
  readonly onDeadline: 'alert' | 'proceed';
  /** Share of the nodes that report handshakes which may lie about a canary; below 0.5. */
  readonly canaryLyingShare: number;
  /**
   * Kinds whose certificate comes from elsewhere (a ceremony, an upstream): `prepare` waits for the
   * import.
   */
  readonly imported: readonly RotatedKind[];
  /**
   * Kinds of which an authority is kept ready in the standby token: published and confirmed, never
   * signing. Default none.
   */
  readonly standby?: readonly RotatedKind[];
  /**
   * Seconds without the issuing token after which the standby signs by itself; `undefined`: an
   * operator says so.
   */
  readonly standbyAfterSeconds?: number | undefined;
}

/** Part of each class that must have confirmed, 0..1; all by default. */
export interface Shares {
  readonly proven: number;
  readonly inferred: number;
  readonly unprovable: number;
}
export const allShares: Shares = { proven: 1, inferred: 1, unprovable: 1 };

/**
 * What an operation wants. Its steps follow from the states of the authorities, so that it can be
 * taken up at any point.
 */
export interface RotationSpec {
  /**
   * UUIDv7, given when the operation is created: the record of the authority is made under it
   * exactly once.
   */
  readonly successorId: string;
  /** The authorities that it takes the place of. */
  readonly targets: readonly string[];
  /**
   * What becomes of them: `old` lives on until its leaves have expired, `tainted` has them
   * replaced.
   */
  readonly targetsBecome: 'old' | 'tainted';
  /**
   * What the successor signs for where it takes nobody's place; absent: everything. Targets, where
   * there are some, sign for this as well.
   */
  readonly scope?: Pick<AuthorityScope, 'replica' | 'region'>;
  /** Under which root a new issuing authority is signed; null: the newest active one. */
  readonly parentId: string | null;
  readonly trigger: 'operator' | 'schedule' | 'root' | 'taint' | 'token';
  readonly shares: Shares;
  /** Goes on without proof. */
  readonly force?: { readonly by: string; readonly reason: string };
  /** Stops after this state of the successor until the operator goes on. */
  readonly stopAfter?: 'prepared' | 'published';
  /** What the successor signs for at first, and then; the last step is everything. */
  readonly canary?: {
    readonly steps: readonly AuthorityScope[];
    readonly holdSeconds: number;
    readonly maximumFailureRate: number;
  };
  /** Of the tainting: in how many seconds the leaves are to be replaced. */
  readonly taintWindowSeconds?: number;
}

export interface RotationOperation {
  readonly id: string;
  readonly kind: RotatedKind;
  readonly state: 'running' | 'paused' | 'done' | 'cancelled';
  readonly version: number;
  readonly spec: RotationSpec;
  readonly createdBy: string;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/**
 * Certificates asked of an authority since it began to sign for a part, and of the others of its
 * kind over the same time.
 */
export interface RenewalFacts {
  readonly signed: number;
  /** Not for a fault of who asked. */
  readonly failed: number;
  readonly othersSigned: number;
  readonly othersFailed: number;
}

export type RotationAction =
  | {
      readonly type: 'open';
      readonly kind: RotatedKind;
      readonly targets: readonly string[];
      readonly parentId: string | null;
      readonly trigger: 'schedule' | 'root' | 'token' /** One that exists; default a new one. */;
      readonly successorId?: string;
      readonly force?: RotationSpec['force'];
    }
  /** An authority in the standby token, or what is left to do of one. */
  | {
      readonly type: 'standby';
      readonly kind: RotatedKind;
      readonly parentId: string | null;
      readonly authority?: Authority;
    }
  /** It has not signed, and does not come to. */
  | { readonly type: 'drop'; readonly authority: Authority }
  | { readonly type: 'cancel'; readonly operation: RotationOperation; readonly reason: string }
  | { readonly type: 'prepare'; readonly operation: RotationOperation }
  | { readonly type: 'publish'; readonly authority: Authority }
  | {
      readonly type: 'activate';
      readonly authority: Authority;
      readonly scope: AuthorityScope;
      readonly without: ActivationProof;
    }
  | { readonly type: 'widen'; readonly authority: Authority; readonly scope: AuthorityScope }
  | { readonly type: 'supersede'; readonly authority: Authority; readonly by: string }
  | { readonly type: 'taint'; readonly authority: Authority; readonly windowSeconds: number }
  | { readonly type: 'retire'; readonly authority: Authority }
  | { readonly type: 'revoke'; readonly authority: Authority }
  | { readonly type: 'finish'; readonly operation: RotationOperation };

/** How an activation is justified. */
export type ActivationProof =
  | { readonly kind: 'proven' }
  | { readonly kind: 'forced'; readonly by: string; readonly reason: string }
  | { readonly kind: 'deadline'; readonly deadline: number }
  /** What signed before has ended, so that nobody is left to confirm. */
  | { readonly kind: 'ended'; readonly ended: number };

/** Something that waits, or that an operator should know. */
export interface RotationNote {
  readonly code:
    | 'WAITING_CONFIRMATION'
    | 'WAITING_EXPIRY'
    | 'WAITING_SCHEDULE'
    | 'WAITING_IMPORT'
    | 'WAITING_OPERATOR'
    | 'WAITING_CANARY'
    | 'CANARY_FAILING'
    | 'CANARY_NODES_FAILING'
    | 'CANARY_RENEWALS'
    | 'CANARY_UNREPORTED'
    | 'DEADLINE_NEAR'
    | 'DEADLINE_PASSED'
    | 'CLOCK_JUMPED'
    | 'CLOCK_BEHIND_LOG'
    | 'CLOCK_UNPROVEN'
    | 'ENDED'
    | 'NO_SUCCESSOR'
    | 'STANDBY_READY'
    | 'STANDBY_WAITING'
    | 'TOKEN_LOST'
    | 'AGENTS_ALTERED';
  readonly authorityId: string;
  /** When it ends by itself or becomes due, Unix seconds; 0: not known. */
  readonly at: number;
  readonly alert: boolean;
  /** Agents that the note is about, the worst first. */
  readonly agents?: readonly string[];
}
