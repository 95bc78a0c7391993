import type { KeyType } from '../../common/x509/key-type.ts';
import type {
  Authority,
  AuthorityKind,
  AuthorityState,
  BundleRevision,
  CrlStanding,
  RotatedKind,
  RotationSpec,
  Shares,
} from '../../domain/index.ts';
import type { ImportedCrl } from '../../issuance/crl-import.ts';
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
  /**
   * Issuing only: it signs on servers there alone, in the place of the one with this very scope, or
   * of nobody. Default: everywhere.
   */
  readonly scope?: NonNullable<RotationSpec['scope']>;
}

/**
 * What operators do to authorities. Acts are durable on return and carried on by the controller;
 * the answer is the state as it is then. Verbs: authority.rotate, authority.taint, authority.revoke
 * on the whole trust domain; authority.force beside them for `force`.
 */
export type EvidencePart =
  | {
      readonly part: 'statement';
      readonly sha256: string;
      readonly statement: Buffer /** Of its record; 0: not found. */;
      readonly sequence: number;
    }
  | { readonly part: 'lines'; readonly lines: Buffer };

export interface Rotation {
  /** Throws CONFLICT while one of this kind is under way. */
  rotate(caller: OperatorCaller, input: RotateInput): Promise<RotationState>;
  proceed(
    caller: OperatorCaller,
    input: {
      readonly id?: string;
      readonly kind?: RotatedKind;
      readonly stopAfter?: 'prepared' | 'published';
      readonly force: boolean;
      readonly reason: string;
      readonly shares?: Shares;
    },
  ): Promise<RotationState>;
  withdraw(caller: OperatorCaller, id: string, reason: string): Promise<RotationState>;
  /**
   * Where it is the last that signs, its successor is made first. `windowSeconds` 0: the default.
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
  /** Throws AUTHORITY_IN_USE while leaves of it are live. */
  revoke(
    caller: OperatorCaller,
    input: { readonly id: string; readonly reason: string; readonly force: boolean },
  ): Promise<RotationState>;
  /** What `compromise` would do. */
  planCompromise(caller: OperatorCaller, id: string): Promise<CompromisePlan>;
  /** Its key is in other hands. Needs authority.taint and authority.revoke. */
  compromise(
    caller: OperatorCaller,
    input: {
      readonly id: string;
      readonly windowSeconds: number;
      readonly reason: string;
      readonly force: boolean;
    },
  ): Promise<CompromisePlan>;
  acceptClock(caller: OperatorCaller, reason: string): Promise<RotationState>;
  status(caller: OperatorCaller): Promise<RotationState>;
  /**
   * Who was counted when it last became active: the statement, then the parts of the list. Throws
   * NOT_FOUND where the log knows of none, EVIDENCE_INVALID where it is another.
   */
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
  list(
    caller: OperatorCaller,
    filter: { readonly kind?: AuthorityKind; readonly state?: AuthorityState },
  ): Promise<readonly AuthorityView[]>;
  get(caller: OperatorCaller, id: string): Promise<AuthorityView>;
  bundle(caller: OperatorCaller): Promise<BundleView>;
}

/**
 * Issuing intermediates that another CA certifies, and those of another CA that we certify. All
 * take every verb on the whole trust domain, or the local socket.
 */
export interface AuthoritySourcing {
  request(
    caller: OperatorCaller,
    input: {
      readonly id?: string;
      readonly keyType?: KeyType;
      readonly scope?: { readonly replica?: string; readonly region?: string };
    },
  ): Promise<AuthorityRequest>;
  importChain(
    caller: OperatorCaller,
    input: {
      readonly id: string;
      readonly certificatesDer: readonly Buffer[];
      readonly rootSha256?: string;
      readonly dryRun: boolean;
    },
  ): Promise<ImportedAuthority | { readonly warnings: readonly string[] }>;
  prepareUpstream(caller: OperatorCaller): Promise<ImportedAuthority>;
  signDownstream(
    caller: OperatorCaller,
    input: {
      readonly csrDer: Buffer;
      readonly issuerId?: string;
      readonly lifeSeconds: number;
      readonly requestId: string;
    },
  ): Promise<DownstreamAuthority>;
  /** Throws NOT_FOUND, AUTHORITY_UNFIT, CONFLICT, ALREADY_EXISTS. */
  crossSign(
    caller: OperatorCaller,
    input: { readonly fromId: string; readonly toId: string },
  ): Promise<{ readonly authority: Authority; readonly inChains: boolean }>;
  /** Throws CRL_INVALID, CRL_ISSUER_UNKNOWN, CRL_NOT_CURRENT, CRL_NOT_NEWER, REQUEST_TOO_LARGE. */
  importCrl(
    caller: OperatorCaller,
    input: { readonly crlDer: Buffer; readonly dryRun: boolean },
  ): Promise<ImportedCrl>;
}
