import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { fail, ok, type Result } from '../../src/common/errors/index.ts';
import type { TrustDomain } from '../../src/common/spiffe/index.ts';
import { parseCertificate, setDigest, spkiOf } from '../../src/common/x509/index.ts';
import type { TrustBundle } from '../ports/bundles.ts';

const maximumAuthorities = 100;
const maximumDocumentBytes = 1_000_000;

/** One JWT authority; `jwk` as it stood in the document. */
export interface JwtAuthority {
  readonly keyId: string;
  readonly jwk: Readonly<Record<string, unknown>>;
}

export interface BundleDocument {
  readonly sequence: number;
  readonly rootsDer: readonly Buffer[];
  readonly jwtAuthorities: readonly JwtAuthority[];
  /**
   * SHA-256 (hex) of the public keys of the issuing authorities of this server; undefined where the
   * document is no signed step: a SPIFFE bundle does not have them.
   */
  readonly issuersSha256: ReadonlySet<string> | undefined;
}

/**
 * Reads a SPIFFE bundle document (SPIFFE Trust Domain and Bundle, section 4): a JWKS whose
 * `x509-svid` keys carry one certificate in `x5c`. Keys of another use are ignored, as the
 * specification wants; a key of ours that is broken fails the whole document with BUNDLE_INVALID.
 */
export function parseBundleDocument(text: string): Result<BundleDocument> {
  if (text.length > maximumDocumentBytes)
    return fail('BUNDLE_INVALID', 'the bundle document is too large');
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (thrown) {
    return fail('BUNDLE_INVALID', 'the bundle document is not JSON', { cause: thrown });
  }
  if (!isRecord(document) || !Array.isArray(document['keys']))
    return fail('BUNDLE_INVALID', 'the bundle document has no array of keys');
  const sequence = document['spiffe_sequence'] ?? 0;
  if (typeof sequence !== 'number' || !Number.isSafeInteger(sequence) || sequence < 0)
    return fail('BUNDLE_INVALID', 'spiffe_sequence is not a non-negative integer');
  if (document['keys'].length > maximumAuthorities)
    return fail('BUNDLE_INVALID', `the bundle has more than ${maximumAuthorities} keys`);
  const rootsDer: Buffer[] = [];
  const jwtAuthorities: JwtAuthority[] = [];
  for (const key of document['keys'] as unknown[]) {
    if (!isRecord(key)) return fail('BUNDLE_INVALID', 'a key of the bundle is no object');
    if (key['use'] === 'x509-svid') {
      const root = rootOf(key);
      if (!root.ok) return root;
      rootsDer.push(root.value);
    } else if (key['use'] === 'jwt-svid') {
      if (typeof key['kid'] !== 'string' || key['kid'] === '')
        return fail('BUNDLE_INVALID', 'a JWT authority has no key ID');
      if (key['d'] !== undefined || key['kty'] === 'oct')
        return fail('BUNDLE_INVALID', 'a JWT authority is no public key');
      jwtAuthorities.push({ keyId: key['kid'], jwk: key });
    }
  }
  return ok({
    sequence,
    rootsDer,
    jwtAuthorities,
    issuersSha256: issuersOf(document['meshca_issuers']),
  });
}

/** A bundle of which only the roots are known (PEM file). */
export const rootsOnly = (rootsDer: readonly Buffer[]): BundleDocument => ({
  sequence: 0,
  rootsDer,
  jwtAuthorities: [],
  issuersSha256: undefined,
});

export function toTrustBundle(trustDomain: TrustDomain, document: BundleDocument): TrustBundle {
  return {
    trustDomain,
    sequence: document.sequence,
    rootsDer: document.rootsDer,
    jwksJson: JSON.stringify({ keys: document.jwtAuthorities.map(({ jwk }) => jwk) }),
    authoritySetDigest: setDigest(document.rootsDer),
    jwtSetDigest: setDigest(document.jwtAuthorities.flatMap(({ jwk }) => spkiOfJwk(jwk) ?? [])),
    issuersSha256: [...(document.issuersSha256 ?? [])],
  };
}

/**
 * undefined for a key of a kind that can not be read here: a foreign bundle may have it, and no
 * digest is taken of that one.
 */
function spkiOfJwk(jwk: Readonly<Record<string, unknown>>): Buffer | undefined {
  try {
    return spkiOf(createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' }));
  } catch {
    return undefined;
  }
}

function issuersOf(stated: unknown): ReadonlySet<string> | undefined {
  if (!Array.isArray(stated) || stated.length > maximumAuthorities) return undefined;
  const keys = stated.filter(
    (each): each is string => typeof each === 'string' && /^[0-9a-f]{64}$/.test(each),
  );
  return keys.length === stated.length ? new Set(keys) : undefined;
}

function rootOf(key: Record<string, unknown>): Result<Buffer> {
  const chain = key['x5c'];
  if (!Array.isArray(chain) || chain.length !== 1 || typeof chain[0] !== 'string')
    return fail('BUNDLE_INVALID', 'an X.509 authority does not carry exactly one certificate');
  const der = Buffer.from(chain[0], 'base64');
  const parsed = parseCertificate(der);
  if (!parsed.ok) return fail('BUNDLE_INVALID', `an X.509 authority: ${parsed.error.message}`);
  if (!parsed.value.isCa) return fail('BUNDLE_INVALID', 'an X.509 authority is no CA certificate');
  return ok(der);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
