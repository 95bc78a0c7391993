import type { KeyType } from '../../common/x509/key-type.ts';
import type {
  Authority,
  AuthorityKind,
  AuthorityState,
  BundleRevision,
  CrlReach,
  CrlStanding,
  RotatedKind,
  RotationSpec,
  Shares,
} from '../../domain/index.ts';
import type { ImportedCrl } from '../../issuance/crl/import.ts';
import type { RotationState } from '../../issuance/rotation/controller.ts';
import type { AuthorityRequest } from '../../issuance/sources/authority-request.ts';
import type { ImportedAuthority } from '../../issuance/sources/imported-authority.ts';
import type { DownstreamAuthority } from '../../issuance/sources/downstream.ts';
import type { OperatorCaller } from '../callers/caller.ts';

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
  /** Unix seconds; 0: nothing that it signed is still valid. */
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
  /**
   * For issuing authorities. The new authority signs on servers of this scope only. It replaces the
   * authority with this very scope, or none. Default: everywhere.
   */
  readonly scope?: NonNullable<RotationSpec['scope']>;
}

/** The certificates of one owner that were not replaced. */
export interface UnreplacedOwner {
  /** Empty: none. */
  readonly entryId: string;
  readonly delegationId: string;
  readonly requester: string;
  readonly certificates: number;
  /** The last of them ends then, Unix seconds, and has this subject. */
  readonly until: number;
  readonly subject: string;
}

export interface UnreplacedReport {
  /** The owners with most certificates; of many only some. */
  readonly owners: readonly UnreplacedOwner[];
  readonly ownersTotal: number;
  readonly certificates: number;
  /** The last ends then, Unix seconds; 0: there is none. */
  readonly until: number;
}

export type EvidencePart =
  | {
      readonly part: 'statement';
      readonly sha256: string;
      readonly statement: Buffer;
      /** Of its record; 0: there is none. */
      readonly sequence: number;
    }
  | { readonly part: 'lines'; readonly lines: Buffer };

/**
 * Acts of operators on authorities. An act is durable on return, and the controller carries it on.
 * The answer is the state at that time. Verbs: authority.rotate, authority.taint, authority.revoke
 * on the whole trust domain; for `force` also authority.force. `signal`: aborted when nobody waits
 * for the answer any more. An act whose first write has not begun by then writes nothing
 * (CANCELLED). Acts that take trust away (taint, revoke, compromise) are done in any case.
 */
export interface Rotation {
  /** @throws PkiError CONFLICT while a rotation of this kind is under way */
  rotate(caller: OperatorCaller, input: RotateInput, signal?: AbortSignal): Promise<RotationState>;
  proceed(
    caller: OperatorCaller,
    input: {
      readonly id?: string;
      readonly kind?: RotatedKind;
      readonly stopAfter?: 'prepared' | 'published';
      readonly force: boolean;
      readonly reason: string;
      readonly shares?: Shares;
      /** Agents whose handshake reports no longer count. Requires authority.force and a reason. */
      readonly disregarded: readonly string[];
    },
    signal?: AbortSignal,
  ): Promise<RotationState>;
  withdraw(
    caller: OperatorCaller,
    input: { readonly id: string; readonly reason: string },
    signal?: AbortSignal,
  ): Promise<RotationState>;
  /**
   * If it is the last one that signs, its successor is made first. `windowSeconds` 0: the default.
   */
  taint(
    caller: OperatorCaller,
    input: {
      readonly id: string;
      readonly windowSeconds: number;
      readonly reason: string;
      readonly force: boolean;
    },
  ): Promise<RotationState>;
  /** @throws PkiError AUTHORITY_IN_USE while its leaves are live */
  revoke(
    caller: OperatorCaller,
    input: { readonly id: string; readonly reason: string; readonly force: boolean },
  ): Promise<RotationState>;
  /** Who is cut off when this authority is revoked now. */
  unreplaced(caller: OperatorCaller, id: string, signal?: AbortSignal): Promise<UnreplacedReport>;
  /** What `compromise` would do. */
  planCompromise(caller: OperatorCaller, id: string, signal?: AbortSignal): Promise<CompromisePlan>;
  /** For a stolen key. Requires authority.taint and authority.revoke. */
  compromise(
    caller: OperatorCaller,
    input: {
      readonly id: string;
      readonly windowSeconds: number;
      readonly reason: string;
      readonly force: boolean;
    },
  ): Promise<CompromisePlan>;
  acceptClock(caller: OperatorCaller, reason: string, signal?: AbortSignal): Promise<RotationState>;
  status(caller: OperatorCaller, signal?: AbortSignal): Promise<RotationState>;
  /**
   * The consumers that were counted when the authority last became active: first the statement,
   * then the parts of the list.
   *
   * @throws PkiError NOT_FOUND if the log has no evidence, EVIDENCE_INVALID if the stored evidence
   *   differs
   */
  evidence(caller: OperatorCaller, id: string): Promise<AsyncIterable<EvidencePart>>;
  /**
   * Calls the listener with the present state and after each look. Resolves to the unsubscribe
   * function.
   */
  watch(caller: OperatorCaller, listener: (state: RotationState) => void): Promise<() => void>;
}

export interface BundleView {
  readonly trustDomainName: string;
  readonly rootsDer: readonly Buffer[];
  readonly bundle: BundleRevision;
  /** SHA-256 of each root's DER, hex, in the order of `rootsDer`. */
  readonly fingerprints: readonly string[];
}

/** Facts beside the status of rotation, for callers that may read it. */
export interface CrlViews {
  standings(): readonly CrlStanding[];
  handedOut(): boolean;
  reach(): CrlReach;
}

export interface AuthorityViews {
  list(
    caller: OperatorCaller,
    filter: { readonly kind?: AuthorityKind; readonly state?: AuthorityState },
  ): Promise<readonly AuthorityView[]>;
  get(caller: OperatorCaller, id: string, signal?: AbortSignal): Promise<AuthorityView>;
  bundle(caller: OperatorCaller): Promise<BundleView>;
}

/**
 * Issuing intermediates that another CA certifies, and those of other CAs that we certify. Every
 * operation requires every verb on the whole trust domain, or the local socket. `signal`: aborted
 * when nobody waits for the answer any more. An act whose first write has not begun by then writes
 * nothing (CANCELLED). The import of a CRL takes trust away and is done in any case.
 */
export interface AuthoritySourcing {
  request(
    caller: OperatorCaller,
    input: {
      readonly id?: string;
      readonly keyType?: KeyType;
      readonly scope?: { readonly replica?: string; readonly region?: string };
    },
    signal?: AbortSignal,
  ): Promise<AuthorityRequest>;
  importChain(
    caller: OperatorCaller,
    input: {
      readonly id: string;
      readonly certificatesDer: readonly Buffer[];
      readonly rootSha256?: string;
      readonly dryRun: boolean;
    },
    signal?: AbortSignal,
  ): Promise<ImportedAuthority | { readonly warnings: readonly string[] }>;
  prepareUpstream(caller: OperatorCaller, signal?: AbortSignal): Promise<ImportedAuthority>;
  signDownstream(
    caller: OperatorCaller,
    input: {
      readonly csrDer: Buffer;
      readonly issuerId?: string;
      readonly lifeSeconds: number;
      readonly requestId: string;
    },
    signal?: AbortSignal,
  ): Promise<DownstreamAuthority>;
  /** @throws PkiError NOT_FOUND, AUTHORITY_UNFIT, CONFLICT, ALREADY_EXISTS */
  crossSign(
    caller: OperatorCaller,
    input: { readonly fromId: string; readonly toId: string },
    signal?: AbortSignal,
  ): Promise<{ readonly authority: Authority; readonly inChains: boolean }>;
  /**
   * @throws PkiError CRL_INVALID, CRL_ISSUER_UNKNOWN, CRL_NOT_CURRENT, CRL_NOT_NEWER,
   *   REQUEST_TOO_LARGE
   */
  importCrl(
    caller: OperatorCaller,
    input: { readonly crlDer: Buffer; readonly dryRun: boolean },
  ): Promise<ImportedCrl>;
}
