import { createHash } from 'node:crypto';
import { fail, ok, type Result } from '../../common/errors/index.ts';
import { isOneLine } from '../../common/runtime/index.ts';
import { validSelectors, type Selector } from '../../common/spiffe/index.ts';
import type { TokenIssuerSettings } from './settings.ts';
import type { UnverifiedToken } from './signed-token.ts';
import type { KubernetesIdentity } from './token-verifier.ts';

const maximumSubject = 1024;
const maximumJti = 512;
const maximumAudiences = 32;
const maximumValues = 64;
const maximumSelectors = 256;

/** The claims that each token must have. */
export interface RegisteredClaims {
  readonly subject: string;
  readonly audiences: readonly string[];
  readonly jti: string | undefined;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

const malformed = (why: string): ReturnType<typeof fail> =>
  fail('TOKEN_MALFORMED', `the token ${why}`);

/** Reads the registered claims (RFC 7519, section 4.1). Fails with TOKEN_MALFORMED or a code of time. */
export function registeredClaims(
  { claims }: UnverifiedToken,
  issuer: TokenIssuerSettings,
  now: number,
): Result<RegisteredClaims> {
  const { sub, aud, jti } = claims;
  if (typeof sub !== 'string' || sub === '' || sub.length > maximumSubject || !isOneLine(sub))
    return malformed('has no subject, or one that is not one line of text');
  const audiences = typeof aud === 'string' ? [aud] : aud;
  if (
    !Array.isArray(audiences) ||
    audiences.length > maximumAudiences ||
    !audiences.every((each) => typeof each === 'string')
  )
    return malformed('has no audience, or one that is not text');
  if (jti !== undefined && !(typeof jti === 'string' && jti !== '' && jti.length <= maximumJti))
    return malformed('has a jti that is no text');
  const times = checkTimes(claims, issuer, now);
  if (!times.ok) return times;
  return ok({ subject: sub, audiences, jti, ...times.value });
}

function checkTimes(
  { exp, iat, nbf }: UnverifiedToken['claims'],
  { clockSkewSeconds, maximumLifeSeconds }: TokenIssuerSettings,
  now: number,
): Result<Pick<RegisteredClaims, 'issuedAt' | 'expiresAt'>> {
  if (!isTime(exp) || !isTime(iat))
    return fail('TOKEN_LIFE_TOO_LONG', 'the token states no exp or no iat');
  const issuedAt = Math.floor(iat);
  const expiresAt = Math.floor(exp);
  if (expiresAt + clockSkewSeconds <= now)
    return fail('TOKEN_EXPIRED', `the token ended at ${utc(expiresAt)}`);
  const begins = nbf === undefined ? issuedAt : nbf;
  if (!isTime(begins)) return malformed('has an nbf that is no time');
  const from = Math.max(issuedAt, Math.floor(begins));
  if (from - clockSkewSeconds > now)
    return fail('TOKEN_NOT_YET_VALID', `the token begins at ${utc(from)}`);
  if (expiresAt - issuedAt > maximumLifeSeconds)
    return fail(
      'TOKEN_LIFE_TOO_LONG',
      `the token lives ${expiresAt - issuedAt} s, and ${maximumLifeSeconds} s are allowed`,
    );
  return ok({ issuedAt, expiresAt });
}

const isTime = (value: unknown): value is number =>
  typeof value === 'number' && value > 0 && value < 253_402_300_800;
const utc = (seconds: number): string => new Date(seconds * 1000).toISOString();

/** Fails with TOKEN_AUDIENCE_WRONG. */
export function checkAudience(
  audiences: readonly string[],
  wanted: readonly string[],
): Result<void> {
  return audiences.some((audience) => wanted.includes(audience))
    ? ok(undefined)
    : fail(
        'TOKEN_AUDIENCE_WRONG',
        `the token is for ${quoted(audiences)}; it must be for ${quoted(wanted)}`,
      );
}

const quoted = (texts: readonly string[]): string =>
  texts.length === 0
    ? 'nobody'
    : texts
        .slice(0, 4)
        .map((text) => JSON.stringify(text.slice(0, 120)))
        .join(' or ');

/** See `VerifiedToken.useId`. */
export function useIdOf(issuer: string, jti: string | undefined, signedText: string): string {
  const named = jti === undefined ? ['text', issuer, signedText] : ['jti', issuer, jti];
  return createHash('sha256')
    .update('meshca-token-use-v1\n')
    .update(JSON.stringify(named))
    .digest('hex');
}

/** Claims that say nothing of who the holder is. */
const silent = new Set(['iss', 'exp', 'iat', 'nbf', 'jti']);

/**
 * The claims as selectors `oidc:NAME:VALUE`. A name with a colon is left out: with it two claims
 * could give one selector. Nested claims are left out for the same reason.
 */
export function claimSelectors(claims: UnverifiedToken['claims']): readonly Selector[] {
  const texts = Object.entries(claims).flatMap(([name, claim]) => {
    if (silent.has(name) || !/^[A-Za-z0-9_.-]{1,128}$/.test(name)) return [];
    const values = Array.isArray(claim) ? (claim as readonly unknown[]) : [claim];
    if (values.length > maximumValues) return [];
    return values.flatMap((value) =>
      typeof value === 'string' || typeof value === 'boolean' || Number.isSafeInteger(value)
        ? [`oidc:${name}:${String(value)}`]
        : [],
    );
  });
  return selectorsOf(texts);
}

export function kubernetesSelectors(identity: KubernetesIdentity): readonly Selector[] {
  const { cluster, namespace, serviceAccount, pod, node } = identity;
  return selectorsOf([
    `k8s:cluster:${cluster}`,
    `k8s:ns:${namespace}`,
    `k8s:sa:${serviceAccount}`,
    ...(pod === undefined ? [] : [`k8s:pod-name:${pod.name}`, `k8s:pod-uid:${pod.uid}`]),
    ...(node === undefined ? [] : [`k8s:node-name:${node.name}`]),
    ...(node?.uid === undefined ? [] : [`k8s:node-uid:${node.uid}`]),
  ]);
}

/** Values that can not be a selector are left out, never changed. */
const selectorsOf = (texts: readonly string[]): readonly Selector[] =>
  validSelectors([...new Set(texts)].sort()).slice(0, maximumSelectors);
