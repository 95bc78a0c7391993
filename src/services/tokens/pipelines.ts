import type { NamesDelegation } from '../issuing/active-delegations.ts';
import type { SpiffeId } from '../../common/spiffe/index.ts';
import type { IssuedLeaf } from '../../issuance/issuer.ts';
import type {
  AnonymousCaller,
  DelegateCaller,
  OperatorCaller,
  WorkloadCaller,
} from '../callers/caller.ts';
import type { TokenIssuerStanding, VerifiedToken } from './token-verifier.ts';

export interface PipelineRequest {
  readonly token: string;
  readonly csrDer: Buffer;
  /** 0: as long as the entry says. */
  readonly ttlSeconds: number;
  /** The identity that is wanted; empty: the only one that the token gives. */
  readonly spiffeId: string;
}

/** An identity that a token gives, by an entry. */
export interface TokenGrant {
  readonly entryId: string;
  readonly spiffeId: SpiffeId;
  readonly ttlSeconds: number;
  /** Why the policy denies it now, with a key as our clients make them; undefined: it allows it. */
  readonly denied: string | undefined;
  /** By which EAB keys are given. Empty: the issuer has not the purpose acme. */
  readonly names: readonly TokenNames[];
}

/** A delegation of names of the identity that a token gives. */
export interface TokenNames {
  readonly delegation: NamesDelegation;
  /** Of the identity. Empty: none, and no EAB key is given. */
  readonly tenant: string;
}

/** An entry of the token's issuer that does not match, and why. */
export interface RefusedGrant {
  readonly entryId: string;
  /** As the entry states it, with its placeholders. */
  readonly spiffeId: string;
  readonly reason: string;
}

export interface TokenExplanation {
  readonly token: VerifiedToken;
  readonly grants: readonly TokenGrant[];
  /** For operators alone. */
  readonly refused: readonly RefusedGrant[];
  /** The key that used it first; undefined: nobody has used it. */
  readonly usedAt: number | undefined;
}

export interface Pipelines {
  /**
   * A certificate for a job that proves itself by a token. The token counts once: later only the
   * same key gets the same certificate.
   *
   * @throws PkiError TOKEN_*, ENTRY_NOT_AUTHORIZED, TOKEN_GRANT_AMBIGUOUS, and those of issuance
   */
  issue(
    caller: AnonymousCaller,
    request: PipelineRequest,
    signal?: AbortSignal,
  ): Promise<{
    readonly leaf: IssuedLeaf;
    readonly entryId: string;
    readonly rootsDer: readonly Buffer[];
  }>;
  /** What a token gives to its holder. Uses nothing up. */
  explain(
    caller: AnonymousCaller | OperatorCaller,
    token: string,
    signal?: AbortSignal,
  ): Promise<TokenExplanation>;
  /**
   * The holder gives its certificate back: the token leads to it no more, and it is revoked where
   * its profile allows that.
   */
  end(
    caller: WorkloadCaller | DelegateCaller,
  ): Promise<{ readonly revoked: boolean; readonly notAfter: number }>;
  issuers(caller: OperatorCaller): Promise<readonly TokenIssuerStanding[]>;
}
