import type { PkiError } from '../../common/errors/index.ts';
import type { Selector } from '../../common/spiffe/index.ts';
import type { IssuedJwt, IssuedLeaf } from '../../issuance/issuer.ts';
import type { AgentCaller } from '../callers/caller.ts';

export type SvidOutcome =
  | {
      readonly ok: true;
      readonly requestId: string;
      readonly leaf: IssuedLeaf;
      /** Only for an agent and a certificate for names: what its relying parties trust. */
      readonly namesRootsDer?: readonly Buffer[];
    }
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
  /** Brings a `ttlSeconds` outside of the limits into them. Default: it is refused. */
  readonly clampTtl?: boolean;
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
