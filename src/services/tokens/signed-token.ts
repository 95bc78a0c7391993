import { compactVerify } from 'jose';
import { fail, ok, type Result } from '../../common/errors/index.ts';
import type { IssuerKeys } from './issuer-keys.ts';
import { tokenAlgorithms, type TokenAlgorithm } from './settings.ts';

export const maximumTokenBytes = 16 * 1024;
const maximumTries = 8;

/** A token as its text says, before anything of it is verified. */
export interface UnverifiedToken {
  readonly text: string;
  /** The header and claims as text: what the signature is over. */
  readonly signedText: string;
  readonly algorithm: string;
  readonly kid: string | undefined;
  readonly issuer: string;
  readonly claims: Readonly<Record<string, unknown>>;
}

const types = new Set(['jwt', 'at+jwt', 'application/at+jwt']);

/** Fails with TOKEN_MALFORMED. */
export function parseToken(text: string): Result<UnverifiedToken> {
  const malformed = (why: string): ReturnType<typeof fail> =>
    fail('TOKEN_MALFORMED', `the token ${why}`);
  if (text.length > maximumTokenBytes)
    return malformed(`has more than ${maximumTokenBytes} characters`);
  if (!/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/.test(text))
    return malformed('is not three parts of base64url with dots between them');
  const [headerText, claimsText] = text.split('.') as [string, string, string];
  const header = jsonObject(headerText);
  const claims = jsonObject(claimsText);
  if (header === undefined || claims === undefined)
    return malformed('has a header or claims that are no JSON object');
  const { alg, kid, crit, typ } = header;
  if (typeof alg !== 'string' || !(kid === undefined || typeof kid === 'string'))
    return malformed('has a header without alg, or with a kid that is no text');
  // RFC 7515, section 4.1.11: who does not understand an extension must refuse it
  if (crit !== undefined) return malformed('has a header with extensions that must be understood');
  if (typ !== undefined && !(typeof typ === 'string' && types.has(typ.toLowerCase())))
    return malformed('is of another type than JWT');
  if (typeof claims['iss'] !== 'string') return malformed('names no issuer');
  return ok({
    text,
    signedText: `${headerText}.${claimsText}`,
    algorithm: alg,
    kid,
    issuer: claims['iss'],
    claims,
  });
}

function jsonObject(part: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)
      ? (parsed as Readonly<Record<string, unknown>>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Fails with TOKEN_ALGORITHM_NOT_ALLOWED. */
export function allowedAlgorithm(
  { algorithm }: UnverifiedToken,
  allowed: readonly TokenAlgorithm[],
): Result<TokenAlgorithm> {
  const known = tokenAlgorithms.find((name) => name === algorithm);
  return known !== undefined && allowed.includes(known)
    ? ok(known)
    : fail(
        'TOKEN_ALGORITHM_NOT_ALLOWED',
        `the token is signed with ${JSON.stringify(algorithm.slice(0, 40))}; allowed are ${allowed.join(', ')}`,
      );
}

/**
 * Verifies the signature with a key of the issuer. Fails with TOKEN_KEY_UNKNOWN,
 * TOKEN_SIGNATURE_INVALID or TOKEN_ISSUER_UNREACHABLE.
 */
export async function verifySignature(
  token: UnverifiedToken,
  algorithm: TokenAlgorithm,
  keys: Pick<IssuerKeys, 'candidates' | 'reread'>,
): Promise<Result<void>> {
  const first = await verifyOnce(token, algorithm, keys);
  // a token that names no key may be signed with a new one
  if (first.ok || token.kid !== undefined || first.error.code !== 'TOKEN_SIGNATURE_INVALID')
    return first;
  const again = await keys.reread();
  return again.ok ? verifyOnce(token, algorithm, keys) : first;
}

async function verifyOnce(
  { text, kid }: UnverifiedToken,
  algorithm: TokenAlgorithm,
  keys: Pick<IssuerKeys, 'candidates'>,
): Promise<Result<void>> {
  const candidates = await keys.candidates(kid, algorithm);
  if (!candidates.ok) return candidates;
  for (const key of candidates.value.slice(0, maximumTries)) {
    try {
      await compactVerify(text, await key.imported(algorithm), {
        algorithms: [algorithm],
      });
      return ok(undefined);
    } catch {
      // another key of the issuer may fit
    }
  }
  return fail('TOKEN_SIGNATURE_INVALID', 'the signature of the token does not verify');
}
