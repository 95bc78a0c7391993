import type { PkiError } from '../../common/errors/index.ts';
import type { Selector } from '../../common/spiffe/index.ts';
import type { KeyType } from '../../common/x509/key-type.ts';
import type { IssuedJwt, IssuedLeaf } from '../../issuance/issuer.ts';
import type { DownstreamAuthority } from '../../issuance/sources/downstream.ts';
import type { AgentCaller, DelegateCaller, WorkloadCaller } from '../callers/caller.ts';

export type SvidOutcome =
  | { readonly ok: true; readonly requestId: string; readonly leaf: IssuedLeaf }
  | {
      readonly ok: false;
      readonly requestId: string;
      readonly error: PkiError;
      readonly refusalId: string;
    };

export interface X509SvidItem {
  readonly requestId: string;
  readonly entryId: string;
  readonly csrDer: Buffer;
  /** 0: the life that the entry states. */
  readonly ttlSeconds: number;
  readonly selectors: readonly Selector[];
  /** The serial, or empty. */
  readonly replacesSerial: string;
}

export interface JwtSvidAsk {
  readonly requestId: string;
  readonly entryId: string;
  readonly audience: readonly string[];
  /** 0: the life that the entry states. */
  readonly ttlSeconds: number;
  readonly selectors: readonly Selector[];
}

/**
 * `signal` of a call is aborted when no caller waits for its answer any more. Items without a
 * durable intent are then neither recorded nor signed (CANCELLED); the others run to their end.
 * Without a signal the caller can not go away.
 */
export interface Svids {
  /**
   * Up to 500 items; outcomes in their order.
   *
   * @throws PkiError for the whole call only: REQUEST_TOO_LARGE, RATE_LIMITED, or the caller lost
   *   its standing
   */
  signX509(
    caller: AgentCaller,
    items: readonly X509SvidItem[],
    signal?: AbortSignal,
  ): Promise<readonly SvidOutcome[]>;
  signJwt(
    caller: AgentCaller,
    ask: JwtSvidAsk,
    signal?: AbortSignal,
  ): Promise<IssuedJwt & { readonly spiffeId: string; readonly serverTime: number }>;
}

export interface DelegatedItem {
  readonly requestId: string;
  readonly spiffeId: string;
  readonly dnsNames: readonly string[];
  readonly csrDer: Buffer;
  /** 0: the delegation's maximum, or the maximum of the profile if that is less. */
  readonly ttlSeconds: number;
}

/** `signal`: see `Svids`. */
export interface Signing {
  /**
   * Up to 500 items; outcomes in their order. A unary call is one item. `rootsDer`: the roots of
   * the bundle.
   */
  sign(
    caller: DelegateCaller,
    items: readonly DelegatedItem[],
    signal?: AbortSignal,
  ): Promise<{ readonly outcomes: readonly SvidOutcome[]; readonly rootsDer: readonly Buffer[] }>;
  delegation(caller: DelegateCaller): Promise<{
    readonly delegationIds: readonly string[];
    readonly patterns: readonly string[];
    readonly maxTtlSeconds: number;
    readonly keyTypes: readonly KeyType[];
  }>;
}

/**
 * `signal`: see `Svids`. A caller that went away loses its place in the queue before the root
 * token.
 */
export interface Downstream {
  /**
   * Issues a CA certificate to the calling workload, if the entry of its SVID allows that now.
   * `ttlSeconds` 0: as long as allowed.
   *
   * @throws PkiError DOWNSTREAM_NOT_ALLOWED, AGENT_BANNED, AGENT_EVICTED, RATE_LIMITED, OVERLOADED,
   *   and the codes of signing a downstream authority
   */
  sign(
    caller: WorkloadCaller | DelegateCaller,
    input: { readonly requestId: string; readonly csrDer: Buffer; readonly ttlSeconds: number },
    signal?: AbortSignal,
  ): Promise<DownstreamAuthority & { readonly rootsDer: readonly Buffer[] }>;
}
