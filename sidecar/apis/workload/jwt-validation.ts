import {
  decodeProtectedHeader,
  errors,
  importJWK,
  jwtVerify,
  type CryptoKey,
  type JWK,
  type JWTPayload,
} from 'jose';
import { fail, ok, type Result } from '../../../src/common/errors/index.ts';
import { SpiffeId } from '../../../src/common/spiffe/index.ts';
import type { TrustBundle } from '../../ports/bundles.ts';

/** JWT-SVID section 3.1: no symmetric algorithm, no EdDSA, never `none`. */
const algorithms = [
  'RS256',
  'RS384',
  'RS512',
  'ES256',
  'ES384',
  'ES512',
  'PS256',
  'PS384',
  'PS512',
];
const curves: Readonly<Record<string, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };
const maximumTokenBytes = 16_384;
const keysPerToken = 16;

export interface ValidatedJwt {
  readonly spiffeId: SpiffeId;
  readonly claims: JWTPayload;
}

const keySets = new WeakMap<TrustBundle, readonly JWK[]>();
const imported = new WeakMap<JWK, Map<string, CryptoKey | Uint8Array | undefined>>();

/** The claims and header of a token that has not been verified. */
interface Unverified {
  readonly alg: string;
  readonly kid: string | undefined;
  readonly subject: string;
  readonly spiffeId: SpiffeId;
}

/**
 * Validates a JWT-SVID (JWT-SVID sections 2 to 4) against the bundle of the token's own trust
 * domain. `nowMs` judges `exp` and `nbf`, without leeway. Fails with JWT_INVALID.
 */
export async function validateJwtSvid(
  token: string,
  audience: string,
  bundleOf: (trustDomainName: string) => TrustBundle | undefined,
  nowMs: number,
): Promise<Result<ValidatedJwt>> {
  const parsed = parseUnverified(token);
  if (!parsed.ok) return parsed;
  const { alg, kid, subject, spiffeId } = parsed.value;
  const bundle = bundleOf(spiffeId.trustDomain.name);
  if (bundle === undefined)
    return fail(
      'JWT_INVALID',
      `there is no bundle for the trust domain ${spiffeId.trustDomain.name}`,
    );
  const candidates = keysOf(bundle)
    .filter((key) => fits(key, alg) && (kid === undefined || key.kid === kid))
    .slice(0, keysPerToken);
  for (const jwk of candidates) {
    const key = await importOnce(jwk, alg);
    const claims = key === undefined ? undefined : await verify(token, key, { audience, nowMs });
    if (claims === undefined) continue;
    if (!claims.ok) return claims;
    return claims.value.sub === subject
      ? ok({ spiffeId, claims: claims.value })
      : fail('JWT_INVALID', 'the claim "sub" is ambiguous');
  }
  return fail(
    'JWT_INVALID',
    candidates.length === 0
      ? 'no key in the bundle of its trust domain fits the token'
      : 'the signature does not verify',
  );
}

function parseUnverified(token: string): Result<Unverified> {
  if (token.length > maximumTokenBytes)
    return fail('JWT_INVALID', `the token has more than ${maximumTokenBytes} bytes`);
  let header: ReturnType<typeof decodeProtectedHeader>;
  let subject: unknown;
  try {
    header = decodeProtectedHeader(token);
    const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8');
    subject = (JSON.parse(payload) as JWTPayload | null)?.sub;
  } catch {
    return fail('JWT_INVALID', 'the token is not a JWS in compact form');
  }
  const { alg, typ, kid } = header;
  if (alg === undefined || !algorithms.includes(alg))
    return fail('JWT_INVALID', 'the header "alg" is not one that JWT-SVIDs may use');
  if (typ !== undefined && typ !== 'JWT' && typ !== 'JOSE')
    return fail('JWT_INVALID', 'the header "typ" is neither JWT nor JOSE');
  if (typeof subject !== 'string') return fail('JWT_INVALID', 'the claim "sub" is missing');
  const id = SpiffeId.parse(subject);
  if (!id.ok || id.value.path === '')
    return fail('JWT_INVALID', 'the claim "sub" is not the SPIFFE ID of a workload');
  return ok({ alg, kid, subject, spiffeId: id.value });
}

/** Returns undefined if this key did not sign the token. */
async function verify(
  token: string,
  key: CryptoKey | Uint8Array,
  { audience, nowMs }: { readonly audience: string; readonly nowMs: number },
): Promise<Result<JWTPayload> | undefined> {
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms,
      audience,
      requiredClaims: ['sub', 'aud', 'exp'],
      currentDate: new Date(nowMs),
    });
    return ok(payload);
  } catch (thrown) {
    if (thrown instanceof errors.JWSSignatureVerificationFailed) return undefined;
    if (thrown instanceof errors.JWTExpired) return fail('JWT_INVALID', 'the token has expired');
    if (thrown instanceof errors.JWTClaimValidationFailed)
      return fail('JWT_INVALID', `the claim "${thrown.claim}" is missing or not as expected`);
    return fail('JWT_INVALID', 'the token can not be verified', { cause: thrown });
  }
}

function keysOf(bundle: TrustBundle): readonly JWK[] {
  let keys = keySets.get(bundle);
  if (keys === undefined) {
    const parsed = JSON.parse(bundle.jwksJson) as { readonly keys?: readonly JWK[] };
    // SPIFFE bundles mark the purpose; an X.509 authority must never verify a token
    keys = (parsed.keys ?? []).filter((key) => key.use === undefined || key.use === 'jwt-svid');
    keySets.set(bundle, keys);
  }
  return keys;
}

function fits(key: JWK, alg: string): boolean {
  if (key.alg !== undefined && key.alg !== alg) return false;
  const curve = curves[alg];
  return curve === undefined ? key.kty === 'RSA' : key.kty === 'EC' && key.crv === curve;
}

async function importOnce(jwk: JWK, alg: string): Promise<CryptoKey | Uint8Array | undefined> {
  let byAlg = imported.get(jwk);
  if (byAlg === undefined) {
    byAlg = new Map();
    imported.set(jwk, byAlg);
  }
  if (!byAlg.has(alg)) {
    const { use: _use, key_ops: _keyOps, ...bare } = jwk;
    byAlg.set(alg, await importJWK(bare, alg).catch(() => undefined));
  }
  return byAlg.get(alg);
}
