import {
  createLocalJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  jwtVerify,
  type JSONWebKeySet,
  type JWTPayload,
  type JWTVerifyGetKey,
} from 'jose';
import type { ServiceError } from '@grpc/grpc-js';
import { PkiError, unwrap } from '../common/errors/index.ts';
import { SpiffeId, TrustDomain } from '../common/spiffe/index.ts';
import type { JWTSVIDResponse__Output } from '../common/wire/generated/JWTSVIDResponse.ts';
import {
  callFailure,
  securityHeader,
  sourceContext,
  type SourceContext,
  type SourceOptions,
} from './client.ts';
import { follow, type FollowedStream } from './follow.ts';

/** A token to present. Never log it: its holder can act as this workload until it expires. */
export interface JwtSvid {
  readonly id: SpiffeId;
  readonly token: string;
  /** Unix seconds. */
  readonly expiresAt: number;
  readonly hint: string;
}

export interface ValidatedJwtSvid {
  readonly id: SpiffeId;
  readonly claims: JWTPayload;
}

interface Cached {
  readonly svid: JwtSvid;
  /** Monotonic milliseconds: half of the life that was left at receipt. */
  readonly freshUntilMs: number;
}

/** JWT-SVID section 3: no symmetric algorithm, and never `none`. */
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
const maximumCached = 1000;

/**
 * JWT-SVIDs of this process, and the keys to validate those of others without asking the agent each
 * time.
 */
export class JwtSource implements AsyncDisposable {
  readonly #context: SourceContext;
  readonly #cache = new Map<string, Cached>();
  readonly #pending = new Map<string, Promise<JwtSvid>>();
  #keys: ReadonlyMap<string, JWTVerifyGetKey> = new Map();
  #stream: FollowedStream | undefined;
  #closed = false;

  private constructor(options: SourceOptions) {
    this.#context = sourceContext(options);
  }

  /** Resolves when the JWT bundles have arrived. Throws like `X509Source.connect`. */
  static async connect(options: SourceOptions = {}): Promise<JwtSource> {
    const source = new JwtSource(options);
    const { client } = source.#context;
    source.#stream = follow(
      source.#context,
      () => client.fetchJwtBundles({}, securityHeader()),
      (message) => {
        source.#keys = new Map(
          Object.entries(message.bundles).map(([name, jwks]) => [
            unwrap(TrustDomain.parse(name)).name,
            keySet(jwks),
          ]),
        );
      },
      options.signal,
    );
    try {
      await source.#stream.first;
    } catch (error) {
      await source.close();
      throw error;
    }
    return source;
  }

  /** Names of the trust domains whose tokens can be validated. */
  get trustDomains(): readonly string[] {
    return [...this.#keys.keys()];
  }

  /**
   * Returns a token for these audiences, from the cache until half of its life. While the agent is
   * away, returns an older one that is still valid.
   */
  async fetch(
    audience: string | readonly [string, ...string[]],
    spiffeId: string | SpiffeId = '',
  ): Promise<JwtSvid> {
    if (this.#closed) throw new PkiError('CANCELLED', 'the source was closed');
    const audiences = typeof audience === 'string' ? [audience] : [...audience];
    if (audiences.length === 0 || audiences.includes(''))
      throw new PkiError(
        'INVALID_REQUEST',
        'a JWT-SVID needs at least one audience, none of them empty',
      );
    const key = JSON.stringify([spiffeId.toString(), [...audiences].sort()]);
    const cached = this.#cache.get(key);
    if (cached !== undefined && this.#context.clock.monotonicMs() < cached.freshUntilMs)
      return cached.svid;
    // concurrent callers share one request
    const running =
      this.#pending.get(key) ??
      this.#request(key, audiences, spiffeId.toString()).finally(() => this.#pending.delete(key));
    this.#pending.set(key, running);
    try {
      return await running;
    } catch (thrown) {
      const error = PkiError.from(thrown);
      const outage =
        error.info.status === 'UNAVAILABLE' || error.info.status === 'DEADLINE_EXCEEDED';
      if (outage && cached !== undefined && cached.svid.expiresAt > this.#context.clock.now())
        return cached.svid;
      throw error;
    }
  }

  /**
   * Validates a token of another workload by the JWT-SVID standard: signature by a key of the trust
   * domain of its own `sub`, expiry, audience. Throws JWT_INVALID, CHAIN_UNTRUSTED or
   * CERTIFICATE_EXPIRED.
   */
  async validate(token: string, audience: string): Promise<ValidatedJwtSvid> {
    const { id } = readUnverified(token, 'JWT_INVALID');
    const header = readHeader(token);
    if (!algorithms.includes(header.alg ?? ''))
      throw new PkiError('JWT_INVALID', `the token is signed with ${header.alg ?? 'no algorithm'}`);
    if (header.typ !== undefined && header.typ !== 'JWT' && header.typ !== 'JOSE')
      throw new PkiError('JWT_INVALID', `the token has typ ${header.typ}`);
    const keys = this.#keys.get(id.trustDomain.name);
    if (keys === undefined)
      throw new PkiError(
        'CHAIN_UNTRUSTED',
        `there is no JWT bundle of the trust domain ${id.trustDomain}`,
      );
    try {
      const { payload } = await jwtVerify(token, keys, {
        algorithms,
        audience,
        requiredClaims: ['sub', 'aud', 'exp'],
        currentDate: new Date(this.#context.clock.nowMs()),
      });
      return { id, claims: payload };
    } catch (thrown) {
      throw jwtFailure(thrown);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#stream?.close();
    this.#context.client.close();
    this.#cache.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #request(key: string, audience: string[], spiffeId: string): Promise<JwtSvid> {
    const answer = await new Promise<JWTSVIDResponse__Output>((resolve, reject) => {
      const deadline = Date.now() + this.#context.waitMs;
      this.#context.client.fetchJwtsvid(
        { audience, spiffeId },
        securityHeader(),
        { deadline },
        (error: ServiceError | null, value) => {
          if (error !== null) reject(callFailure(error));
          else resolve(value as JWTSVIDResponse__Output);
        },
      );
    });
    const first = answer.svids[0];
    if (first === undefined)
      throw new PkiError('NO_IDENTITY', 'the Workload API returned no JWT-SVID');
    const { id, expiresAt } = readUnverified(first.svid, 'SVID_INVALID');
    if (id.toString() !== first.spiffeId)
      throw new PkiError(
        'SVID_INVALID',
        `the answer names the identity ${first.spiffeId}, but its token is for ${id}`,
      );
    const svid: JwtSvid = { id, token: first.svid, expiresAt, hint: first.hint };
    const leftMs = expiresAt * 1000 - this.#context.clock.nowMs();
    this.#cache.delete(key);
    this.#cache.set(key, { svid, freshUntilMs: this.#context.clock.monotonicMs() + leftMs / 2 });
    if (this.#cache.size > maximumCached)
      this.#cache.delete(this.#cache.keys().next().value as string);
    return svid;
  }
}

/**
 * The keys of a JWKS for JWT-SVIDs. Leaves out keys for other uses, and the use `jwt-svid`, which
 * jose does not know.
 */
function keySet(jwks: Buffer): JWTVerifyGetKey {
  const parsed = JSON.parse(jwks.toString('utf8')) as Partial<JSONWebKeySet>;
  if (!Array.isArray(parsed.keys))
    throw new PkiError('JWT_INVALID', 'a JWT bundle is not a JWK set');
  const keys = parsed.keys
    .filter((key) => key.use === undefined || key.use === 'jwt-svid')
    .map(({ use: _use, ...key }) => key);
  return createLocalJWKSet({ keys });
}

function readUnverified(
  token: string,
  code: 'JWT_INVALID' | 'SVID_INVALID',
): { readonly id: SpiffeId; readonly expiresAt: number } {
  let claims: JWTPayload;
  try {
    claims = decodeJwt(token);
  } catch (cause) {
    throw new PkiError(code, 'the token is not a JWT in compact form', { cause });
  }
  const id = SpiffeId.parse(typeof claims.sub === 'string' ? claims.sub : '');
  if (!id.ok || id.value.path === '')
    throw new PkiError(code, 'the token has no SPIFFE ID of a workload as sub');
  if (typeof claims.exp !== 'number') throw new PkiError(code, 'the token has no exp');
  return { id: id.value, expiresAt: claims.exp };
}

function readHeader(token: string): { readonly alg?: string; readonly typ?: string } {
  try {
    return decodeProtectedHeader(token) as { alg?: string; typ?: string };
  } catch (cause) {
    throw new PkiError('JWT_INVALID', 'the token has no readable header', { cause });
  }
}

function jwtFailure(thrown: unknown): PkiError {
  if (thrown instanceof errors.JWTExpired)
    return new PkiError('CERTIFICATE_EXPIRED', 'the JWT-SVID has expired', { cause: thrown });
  if (
    thrown instanceof errors.JWKSNoMatchingKey ||
    thrown instanceof errors.JWSSignatureVerificationFailed
  ) {
    return new PkiError(
      'CHAIN_UNTRUSTED',
      'no key of the trust domain of the token verifies its signature',
      { cause: thrown },
    );
  }
  return new PkiError(
    'JWT_INVALID',
    thrown instanceof Error ? thrown.message : 'the token is invalid',
    { cause: thrown },
  );
}
