import { importJWK, type JWK } from 'jose';
import type { TokenAlgorithm } from './settings.ts';

const maximumKeys = 64;
const maximumKidLength = 512;

const keyTypeOf: Readonly<Record<TokenAlgorithm, { readonly kty: string; readonly crv?: string }>> =
  {
    RS256: { kty: 'RSA' },
    RS384: { kty: 'RSA' },
    RS512: { kty: 'RSA' },
    PS256: { kty: 'RSA' },
    PS384: { kty: 'RSA' },
    PS512: { kty: 'RSA' },
    ES256: { kty: 'EC', crv: 'P-256' },
    ES384: { kty: 'EC', crv: 'P-384' },
    ES512: { kty: 'EC', crv: 'P-521' },
    EdDSA: { kty: 'OKP', crv: 'Ed25519' },
  };

/** A public key that an issuer publishes. */
export class IssuerKey {
  readonly kid: string | undefined;
  readonly #jwk: JWK;
  readonly #imported = new Map<TokenAlgorithm, ReturnType<typeof importJWK>>();

  constructor(jwk: JWK) {
    this.#jwk = jwk;
    this.kid = jwk.kid;
  }

  /** Whether this key may verify a signature with this algorithm. */
  fits(algorithm: TokenAlgorithm): boolean {
    const { kty, crv, alg } = this.#jwk;
    const wanted = keyTypeOf[algorithm];
    return (
      kty === wanted.kty &&
      (wanted.crv === undefined || crv === wanted.crv) &&
      (alg === undefined || alg === algorithm)
    );
  }

  imported(algorithm: TokenAlgorithm): ReturnType<typeof importJWK> {
    let key = this.#imported.get(algorithm);
    if (key === undefined) {
      key = importJWK(this.#jwk, algorithm);
      this.#imported.set(algorithm, key);
    }
    return key;
  }
}

/**
 * The keys of a JWKS that may verify tokens. Others are left out: keys for encryption, symmetric
 * and private keys, RSA keys that are too short, and what can't be read.
 *
 * @throws Error if it is no JWKS, or has no such key
 */
export function issuerKeys(jwks: unknown, minimumRsaBits: number): readonly IssuerKey[] {
  const listed = (jwks as { readonly keys?: unknown } | null)?.keys;
  if (!Array.isArray(listed)) throw new Error('the answer is no JWKS: it has no list of keys');
  if (listed.length > maximumKeys)
    throw new Error(`the JWKS has ${listed.length} keys, more than ${maximumKeys}`);
  const keys = (listed as readonly unknown[]).flatMap((key) => {
    const jwk = publicKey(key, minimumRsaBits);
    return jwk === undefined ? [] : [new IssuerKey(jwk)];
  });
  if (keys.length === 0) throw new Error('the JWKS has no key that may verify tokens');
  return keys;
}

function publicKey(key: unknown, minimumRsaBits: number): JWK | undefined {
  if (typeof key !== 'object' || key === null) return undefined;
  const jwk = key as JWK;
  const { kid, kty, use, n } = jwk;
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > maximumKidLength))
    return undefined;
  if (use !== undefined && use !== 'sig') return undefined;
  const operations: unknown = jwk.key_ops;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return undefined;
  if ('d' in jwk || 'k' in jwk) return undefined;
  if (kty === 'RSA') return rsaBits(n) >= minimumRsaBits ? jwk : undefined;
  return kty === 'EC' || kty === 'OKP' ? jwk : undefined;
}

const maximumRsaBytes = 1024;

function rsaBits(modulus: unknown): number {
  if (typeof modulus !== 'string') return 0;
  const bytes = Buffer.from(modulus, 'base64url');
  const start = bytes.findIndex((byte) => byte !== 0);
  if (start < 0 || bytes.length - start > maximumRsaBytes) return 0;
  return (bytes.length - start) * 8 - Math.clz32(bytes[start] as number) + 24;
}
