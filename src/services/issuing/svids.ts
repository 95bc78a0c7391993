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

/**
 * `signal` of a call is aborted when nobody waits for its answer any more: what has no durable
 * intent by then is neither recorded nor signed (CANCELLED); the rest runs to its end. Without it
 * nobody can go away.
 */
export interface Svids {
  /**
   * Up to 500 items, outcomes in their order. Throws only for the whole: REQUEST_TOO_LARGE,
   * RATE_LIMITED, or the caller lost its standing.
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
  /** 0: the delegation's maximum, or what the profile allows if that is less. */
  readonly ttlSeconds: number;
}

/** `signal`: as for `Svids`. */
export interface Signing {
  /** Up to 500 items, outcomes in their order; a unary call is one item. `rootsDer`: the bundle. */
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

/** `signal`: as for `Svids`; whose client has gone loses its place before the root token. */
export interface Downstream {
  /**
   * The certificate of a CA for the workload that calls, if the entry of its SVID allows that now.
   * `ttlSeconds` 0: as long as allowed. Throws DOWNSTREAM_NOT_ALLOWED, AGENT_BANNED, AGENT_EVICTED,
   * RATE_LIMITED, OVERLOADED, and what signing a downstream authority throws.
   */
  sign(
    caller: WorkloadCaller | DelegateCaller,
    input: { readonly requestId: string; readonly csrDer: Buffer; readonly ttlSeconds: number },
    signal?: AbortSignal,
  ): Promise<DownstreamAuthority & { readonly rootsDer: readonly Buffer[] }>;
}
