import type { ConsumerRecord } from '../agent.ts';
import type { Authority, AuthorityKind, AuthorityScope, NamesAuthorityKind } from '../authority.ts';

/** The kinds whose consumers confirm what they hold. */
export type ConfirmedKind = 'root' | 'issuing' | 'jwt';
/** The kinds that are rotated: with proof, or those for names by the time since publication. */
export type RotatedKind = ConfirmedKind | NamesAuthorityKind;
export const rotatedKinds: readonly RotatedKind[] = [
  'root',
  'issuing',
  'jwt',
  'names-root',
  'names-issuing',
];
export const isRotated = (kind: AuthorityKind): kind is RotatedKind =>
  (rotatedKinds as readonly string[]).includes(kind);

/**
 * An authority, and what is known of the leaves that it, or an authority below it, may have signed.
 */
export interface AuthorityFacts {
  readonly authority: Authority;
  /**
   * Latest notAfter (inclusive) of a leaf or token below it that was or may have been signed; 0:
   * none.
   */
  readonly lastExpiry: number;
  /**
   * The number of leaves that have not expired and were not confirmed as replaced. A leaf whose
   * holder can not report counts until notAfter.
   */
  readonly live: number;
  /** The part of `live` whose holder can not report a replacement. */
  readonly liveUnreported: number;
}

/** An agent, or a control plane that watches the bundle. Each reports for itself and others. */
export interface AgentFacts {
  readonly id: string;
  readonly kind: 'agent' | 'control-plane';
  readonly active: boolean;
  readonly connected: boolean;
  readonly lastSeenAt: number;
  /**
   * Latest notAfter (inclusive) of its own SVID and of every leaf issued through it. Until then the
   * agent may come back with a valid credential.
   */
  readonly lastLeafNotAfter: number;
}

/**
 * Certificates whose holder is no agent: delegated, minted, of other servers. Counted from one
 * publication on.
 */
export interface UnheldFacts {
  /** The number issued before the publication that have not expired. */
  readonly waiting: number;
  readonly total: number;
  /** Latest notAfter of the waiting ones; 0: none. */
  readonly until: number;
  /** Holders of the waiting ones, the last to end first; of many only some. */
  readonly holders: readonly UnheldHolder[];
}

/** A holder that can't report which roots it has. */
export interface UnheldHolder {
  readonly holder: string;
  /** The latest notAfter of its certificates: it counts until then. */
  readonly until: number;
}

/** The digest of a set (hex) → the IDs of the authorities in it. */
export type SetIndex = ReadonlyMap<string, ReadonlySet<string>>;

export interface RotationWorld {
  readonly agents: readonly AgentFacts[];
  readonly consumers: readonly ConsumerRecord[];
  /** By authority ID, for authorities in state `published`. */
  readonly unheld: ReadonlyMap<string, UnheldFacts>;
  readonly sets: { readonly root: SetIndex; readonly jwt: SetIndex; readonly issuing: SetIndex };
  /**
   * Agents whose rows are missing or differ from the log. The other counts are then not reliable.
   * Default: 0.
   */
  readonly alteredAgents?: number;
}

export interface RotationPolicy {
  /** The longest leaf life that an issuing authority signs. */
  readonly longestLeafSeconds: number;
  readonly longestJwtSeconds: number;
  /** The life that an issuing authority gets from its root. */
  readonly issuingLifeSeconds: number;
  /** The same for authorities of names: the longest leaf, and the life of an intermediate. */
  readonly names: { readonly longestLeafSeconds: number; readonly issuingLifeSeconds: number };
  /** The last moment for a change is this much earlier than the lives require. */
  readonly marginSeconds: number;
  /** An authority stays this much longer than its last leaf, for slow clocks. */
  readonly retireMarginSeconds: number;
  /** The minimum time in `published`, for readers that nobody observes. */
  readonly unseenSeconds: {
    readonly root: number;
    readonly jwt: number;
    readonly 'names-root': number;
  };
  /**
   * The fraction of an authority's life after which its successor is prepared, 0 to 1. Undefined:
   * only by an operator.
   */
  readonly prepareAtLifeFraction: number | undefined;
  readonly onDeadline: 'alert' | 'proceed';
  /** The share of the nodes with handshake reports that may lie about a canary; below 0.5. */
  readonly canaryLyingShare: number;
  /**
   * Kinds whose certificate another CA signs (a ceremony, an upstream): `prepare` waits for the
   * import.
   */
  readonly imported: readonly RotatedKind[];
  /** Kinds that are switched off: nothing of them is begun by itself. Default: none. */
  readonly idle?: readonly RotatedKind[];
  /**
   * Kinds with an authority ready in the standby token: published and confirmed, never signing.
   * Default: none.
   */
  readonly standby?: readonly RotatedKind[];
  /**
   * Seconds without the issuing token after which the standby signs automatically. Undefined: an
   * operator decides.
   */
  readonly standbyAfterSeconds?: number | undefined;
}

/** The share of each class that must have confirmed, 0 to 1. Default: all. */
export interface Shares {
  readonly proven: number;
  readonly inferred: number;
  readonly unprovable: number;
}
export const allShares: Shares = { proven: 1, inferred: 1, unprovable: 1 };

/**
 * The goal of an operation. Its steps follow from the states of the authorities, so that it can be
 * resumed at any point.
 */
export interface RotationSpec {
  /**
   * UUIDv7, assigned when the operation is created. The authority's record is made with this ID
   * exactly once.
   */
  readonly successorId: string;
  /** The authorities that it replaces. */
  readonly targets: readonly string[];
  /**
   * The later state of the targets. `old`: they stay until their leaves have expired. `tainted`:
   * their leaves are replaced.
   */
  readonly targetsBecome: 'old' | 'tainted';
  /**
   * The scope of a successor that replaces no authority; absent: everything. Targets, if any, have
   * this scope as well.
   */
  readonly scope?: Pick<AuthorityScope, 'replica' | 'region'>;
  /** The root that signs a new issuing authority; null: the newest active one. */
  readonly parentId: string | null;
  readonly trigger: 'operator' | 'schedule' | 'root' | 'taint' | 'token';
  readonly shares: Shares;
  /** Continues without proof. */
  readonly force?: { readonly by: string; readonly reason: string };
  /** Stops after this state of the successor until an operator continues. */
  readonly stopAfter?: 'prepared' | 'published';
  /** The scopes in which the successor signs, one after the other. The last step is everything. */
  readonly canary?: {
    readonly steps: readonly AuthorityScope[];
    readonly holdSeconds: number;
    readonly maximumFailureRate: number;
    /** Agents whose handshake reports an operator has set aside. */
    readonly disregarded?: readonly string[];
  };
  /** For a taint: the number of seconds in which the leaves must be replaced. */
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
 * Requests to an authority since it began to sign for a part, and to the others of its kind in the
 * same time.
 */
export interface RenewalFacts {
  readonly signed: number;
  /** Failures that were not the requester's fault. */
  readonly failed: number;
  readonly othersSigned: number;
  readonly othersFailed: number;
}

/**
 * An authority that has not ended, or a rotation under way, that the log has, and whose row was
 * altered or taken away.
 */
export interface AlteredRow {
  readonly object: 'authority' | 'rotation';
  readonly id: string;
  /** Of the authority, or of the authorities that the rotation replaces. */
  readonly kind: AuthorityKind;
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
  /** Makes, or continues, an authority in the standby token. */
  | {
      readonly type: 'standby';
      readonly kind: RotatedKind;
      readonly parentId: string | null;
      readonly authority?: Authority;
    }
  /** It has not signed, and never will. */
  | { readonly type: 'drop'; readonly authority: Authority }
  | { readonly type: 'cancel'; readonly operation: RotationOperation; readonly reason: string }
  | { readonly type: 'prepare'; readonly operation: RotationOperation }
  | { readonly type: 'publish'; readonly authority: Authority }
  /** The root `from` certifies the published root `to`, for those who have only `from`. */
  | { readonly type: 'cross'; readonly from: Authority; readonly to: Authority }
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

/** A fact that waits, or that an operator should know. */
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
    | 'AGENTS_ALTERED'
    | 'AUTHORITY_ALTERED'
    | 'ROTATION_ALTERED';
  /** With ROTATION_ALTERED the ID of the rotation. */
  readonly authorityId: string;
  /** Unix seconds at which it ends by itself or becomes due; 0: unknown. */
  readonly at: number;
  readonly alert: boolean;
  /** Agents that the note concerns, worst first. */
  readonly agents?: readonly string[];
}
