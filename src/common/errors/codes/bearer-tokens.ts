import { caller, type CodeInfo } from './code-info.ts';

/** Codes of tokens that others issue: service-account tokens of Kubernetes, and OIDC tokens. */
export const bearerTokenCodes = {
  TOKEN_MALFORMED: caller(
    'UNAUTHENTICATED',
    'The text is not a signed token that can be read.',
    'Send the token as the issuer gave it: three parts with dots between them, without quotes, "Bearer" or line ends.',
  ),
  TOKEN_ISSUER_UNKNOWN: caller(
    'UNAUTHENTICATED',
    'The server trusts no issuer of this name for this purpose.',
    'Compare the iss claim of the token with tokens.issuers of the server; they must be ' +
      'equal to the last character. Where several clusters have one issuer, the caller must ' +
      'name the cluster.',
  ),
  TOKEN_ALGORITHM_NOT_ALLOWED: caller(
    'UNAUTHENTICATED',
    'The token is signed with an algorithm or key that is not allowed.',
    'Let the issuer sign with an algorithm of its "algorithms" in tokens.issuers, or add ' +
      'the one that the message names.',
  ),
  TOKEN_KEY_UNKNOWN: caller(
    'UNAUTHENTICATED',
    'The issuer does not publish the key that the token names.',
    'Get a new token from the issuer. If it has just changed its key, see that its JWKS ' +
      'holds the new one: "meshca token issuers" says when it was read.',
  ),
  TOKEN_SIGNATURE_INVALID: caller(
    'UNAUTHENTICATED',
    'The signature of the token does not verify.',
    'Get a new token from the issuer. If each token is refused so, the JWKS in ' +
      'tokens.issuers belongs to another issuer.',
  ),
  TOKEN_EXPIRED: caller(
    'UNAUTHENTICATED',
    'The token has ended.',
    'Get a new token from the issuer. If it is new, compare the clocks of server and issuer (date -u).',
  ),
  TOKEN_NOT_YET_VALID: caller(
    'UNAUTHENTICATED',
    'The token begins later than now.',
    'Compare the clocks of server and issuer (date -u); tokens.issuers has clockSkewSeconds for small differences.',
  ),
  TOKEN_LIFE_TOO_LONG: caller(
    'UNAUTHENTICATED',
    'The token states no end or issue time, or lives longer than the server allows.',
    'Ask the issuer for a token with a shorter life (expirationSeconds of a projected ' +
      'volume), or raise maximumLifeSeconds of this issuer.',
  ),
  TOKEN_AUDIENCE_WRONG: caller(
    'UNAUTHENTICATED',
    'The token is for another audience.',
    'Ask the issuer for a token with the audience that the message names.',
  ),
  TOKEN_IDENTITY_MISMATCH: caller(
    'PERMISSION_DENIED',
    'The token belongs to another service account than the identity that was asked for.',
    'Ask for the identity that the message names: it follows from the service account and ' +
      'namespace of the token. Compare the namespace and trust domain of the control plane on ' +
      'both sides as well.',
  ),
  TOKEN_NOT_BOUND: caller(
    'UNAUTHENTICATED',
    'The service-account token is not bound to a pod.',
    'Use a projected service account token of the pod (volume source serviceAccountToken), not the token of a Secret.',
  ),
  IMPERSONATION_REFUSED: caller(
    'UNAUTHENTICATED',
    'The call asks for the identity of another pod.',
    'A ztunnel in shared mode does so: let it run in dedicated mode, or let sidecars and gateways ask for themselves.',
  ),
  TOKEN_REFUSED: caller(
    'UNAUTHENTICATED',
    'The cluster says that the token does not count.',
    'The pod or service account behind the token is gone, or the token is of another ' +
      'cluster: use the token of a running pod.',
  ),
  TOKEN_ISSUER_UNREACHABLE: caller(
    'UNAVAILABLE',
    'The issuer of the token can not be asked, so that nobody can tell whether the token counts.',
    'Try again later. If it stays so, check from the server that the issuer answers under ' +
      'the URL and CA of tokens.issuers: "meshca token issuers" has the reason.',
  ),
  TOKEN_REPLAYED: caller(
    'UNAUTHENTICATED',
    'The token was used before, with another key.',
    'Get a new token for each certificate. If this one was used by nobody you know, treat ' +
      'it as stolen: "meshca audit list --kind identity-token.used" names what it led to.',
  ),
  TOKEN_GRANT_AMBIGUOUS: caller(
    'FAILED_PRECONDITION',
    'Several entries give different identities to the token.',
    'Name the one that is wanted: "meshca issue --spiffe-id ID".',
  ),
} as const satisfies Record<string, CodeInfo>;
