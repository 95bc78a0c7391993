import type { Result } from '../../common/errors/index.ts';
import type { Selector } from '../../common/spiffe/index.ts';
import type { TokenPurpose } from './settings.ts';

/** What a way in demands of a token. */
export interface TokenDemand {
  /** The issuer must have it, or one of them. */
  readonly purpose: TokenPurpose | readonly TokenPurpose[];
  /** The token must be for one of these. Absent: for one of the issuer's own audiences. */
  readonly audiences?: readonly string[];
  /** The cluster that the caller names; needed where several clusters have one issuer. */
  readonly cluster?: string | undefined;
  /** Network address of a stranger who sent it. Absent: an operator. */
  readonly peer?: string | undefined;
}

/** The process behind a service account token. */
export interface KubernetesIdentity {
  readonly cluster: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly serviceAccountUid: string | undefined;
  /** Undefined: the token is bound to no pod. */
  readonly pod: { readonly name: string; readonly uid: string } | undefined;
  readonly node: { readonly name: string; readonly uid: string | undefined } | undefined;
}

/** A token that was verified: signature, issuer, audience, times, and the cluster's review. */
export interface VerifiedToken {
  /** The name of the issuer in `tokens.issuers`. */
  readonly issuer: string;
  /** What the issuer is configured for. */
  readonly purposes: readonly TokenPurpose[];
  readonly subject: string;
  readonly audiences: readonly string[];
  /** All claims. Their values are outside text: quote them with care. */
  readonly claims: Readonly<Record<string, unknown>>;
  readonly jti: string | undefined;
  /**
   * SHA-256, hex, by which single use goes: over issuer and `jti`, or over header and claims where
   * there is no `jti`. The signature is left out, because some algorithms let anybody change a
   * signature into another good one.
   */
  readonly useId: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  readonly expiresAt: number;
  /** Seconds after `expiresAt` in which the token still counts. */
  readonly clockSkewSeconds: number;
  /** `oidc:CLAIM:VALUE`, or `k8s:ns:…`, `k8s:sa:…` and so on. Sorted and unique. */
  readonly selectors: readonly Selector[];
  readonly kubernetes: KubernetesIdentity | undefined;
}

/** The standing of an issuer, for operators. */
export interface TokenIssuerStanding {
  readonly name: string;
  readonly type: 'oidc' | 'kubernetes';
  readonly issuer: string;
  readonly purposes: readonly TokenPurpose[];
  readonly audiences: readonly string[];
  /** `unasked`: no token came yet. `stale`: its last good keys count on. */
  readonly state: 'unasked' | 'reachable' | 'stale' | 'unreachable';
  /** Why it can not be asked; empty: it can. */
  readonly reason: string;
  readonly keyIds: readonly string[];
  /** Unix seconds of the last good answer; 0: none. */
  readonly answeredAt: number;
  /** Until when the keys count if it stays unreachable; 0: no such limit. */
  readonly keysUntil: number;
}

export interface TokenVerifier {
  /**
   * Judges a token of a stranger. Never throws for what the token or its issuer is like. The codes
   * are TOKEN_*; TOKEN_ISSUER_UNREACHABLE and OVERLOADED may be tried again. The token is in no
   * error, log or record. An aborted `signal` ends the wait, not what others wait for.
   */
  verify(token: string, demand: TokenDemand, signal?: AbortSignal): Promise<Result<VerifiedToken>>;
  /** Whether an issuer of this name is configured, for this purpose where one is stated. */
  isIssuer(name: string, purpose?: TokenPurpose): boolean;
  standings(): readonly TokenIssuerStanding[];
}
