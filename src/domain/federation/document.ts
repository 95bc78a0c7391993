import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { fail, ok, type Result } from '../../common/errors/index.ts';
import { parseCertificate, sha256Hex, spkiOf } from '../../common/x509/index.ts';
import { readForeignRoot, rsaProblem } from './foreign-root.ts';
import type { ForeignBundle, ForeignJwtKey } from './relationship.ts';

/** What a bundle document of a foreign trust domain says, without the keys of uses that are unknown. */
export type ForeignDocument = Pick<
  ForeignBundle,
  'sequence' | 'refreshHintSeconds' | 'roots' | 'jwtKeys' | 'documentSha256'
>;

/** A document as it was read. */
export interface ReadDocument extends ForeignDocument {
  /** X.509 authorities with a kind of key that relying parties do not know, DER as base64. */
  readonly leftOut: readonly string[];
}

export const maximumDocumentBytes = 256 * 1024;
const maximumKeys = 100;
const maximumKeyIdLength = 256;
const curves: readonly unknown[] = ['P-256', 'P-384', 'P-521'];

/**
 * Reads the bundle document of a foreign trust domain (SPIFFE Trust Domain and Bundle, section 4).
 * Keys of a use that is unknown, roots with a kind of key that relying parties do not know, and JWT
 * keys of a type that no JWT-SVID has, are left out, as the specification wants. Anything else that
 * is not as it should be fails the whole document with FEDERATION_BUNDLE_INVALID.
 */
export function parseForeignDocument(bytes: Buffer): Result<ReadDocument> {
  if (bytes.length > maximumDocumentBytes)
    return invalid(`the bundle document has more than ${maximumDocumentBytes} bytes`);
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return invalid('the bundle document is not JSON');
  }
  if (!isRecord(document)) return invalid('the bundle document is not a JSON object');
  const keys = document['keys'];
  if (!Array.isArray(keys)) return invalid('the bundle document has no list "keys"');
  if (keys.length > maximumKeys) return invalid(`the bundle has more than ${maximumKeys} keys`);
  const sequence = count(document['spiffe_sequence']);
  const refreshHintSeconds = count(document['spiffe_refresh_hint']);
  if (sequence === undefined) return invalid('spiffe_sequence is not a whole number from 0 on');
  if (refreshHintSeconds === undefined)
    return invalid('spiffe_refresh_hint is not a whole number from 0 on');
  const anchors = anchorsOf(keys);
  return anchors.ok
    ? ok({ sequence, refreshHintSeconds, ...anchors.value, documentSha256: sha256Hex(bytes) })
    : anchors;
}

/** What is made of an accepted bundle. */
export interface OwnDocument {
  /**
   * The document that agents get: the accepted keys, and nothing else of what the foreign trust
   * domain wrote.
   */
  readonly document: string;
  /**
   * SHA-256 (hex) of the roots that are not in the document: an earlier release accepted them, and
   * today's rules leave them out.
   */
  readonly leftOut: readonly string[];
  /** SHA-256 (hex) of the SubjectPublicKeyInfo of every key of the bundle. */
  readonly keys: readonly string[];
}

export function ownDocument(
  bundle: Pick<ForeignBundle, 'sequence' | 'refreshHintSeconds' | 'roots' | 'jwtKeys'>,
): OwnDocument {
  const jwk = (key: KeyObject): JsonWebKey => key.export({ format: 'jwk' });
  const written: object[] = [];
  const leftOut: string[] = [];
  const keys: string[] = [];
  for (const root of bundle.roots) {
    const der = Buffer.from(root, 'base64');
    const read = readForeignRoot(der);
    if (read.ok && read.value.isUsable)
      written.push({ ...jwk(keyOf(read.value.spkiDer)), use: 'x509-svid', x5c: [root] });
    else leftOut.push(sha256Hex(der));
    const parsed = read.ok ? read : parseCertificate(der);
    if (parsed.ok) keys.push(sha256Hex(parsed.value.spkiDer));
  }
  for (const { keyId, spki } of bundle.jwtKeys) {
    const der = Buffer.from(spki, 'base64');
    written.push({ ...jwk(keyOf(der)), use: 'jwt-svid', kid: keyId });
    keys.push(sha256Hex(der));
  }
  const document = JSON.stringify({
    keys: written,
    spiffe_sequence: bundle.sequence,
    spiffe_refresh_hint: bundle.refreshHintSeconds,
  });
  return { document, leftOut, keys };
}

const keyOf = (spkiDer: Buffer): KeyObject =>
  createPublicKey({ key: spkiDer, format: 'der', type: 'spki' });

type Anchors = Pick<ReadDocument, 'roots' | 'jwtKeys' | 'leftOut'>;

function anchorsOf(keys: readonly unknown[]): Result<Anchors> {
  const roots = new Set<string>();
  const jwtKeys = new Map<string, ForeignJwtKey>();
  const leftOut = new Set<string>();
  for (const key of keys) {
    if (!isRecord(key)) return invalid('a key of the bundle is no JSON object');
    const { use } = key;
    if (use !== 'x509-svid' && use !== 'jwt-svid') continue;
    if (key['d'] !== undefined || key['k'] !== undefined)
      return invalid(`a key with the use ${use} is no public key`);
    if (use === 'x509-svid') {
      const root = rootOf(key);
      if (!root.ok) return root;
      if (root.value.isUsable) roots.add(root.value.der);
      else leftOut.add(root.value.der);
      continue;
    }
    const jwtKey = jwtKeyOf(key);
    if (!jwtKey.ok) return jwtKey;
    if (jwtKey.value === undefined) continue;
    const { keyId, spki } = jwtKey.value;
    if (jwtKeys.has(keyId) && jwtKeys.get(keyId)?.spki !== spki)
      return invalid(`two JWT keys have the key ID ${JSON.stringify(keyId)}`);
    jwtKeys.set(keyId, jwtKey.value);
  }
  return ok({ roots: [...roots], jwtKeys: [...jwtKeys.values()], leftOut: [...leftOut] });
}

interface Anchor {
  /** Base64. */
  readonly der: string;
  readonly isUsable: boolean;
}

function rootOf(key: Readonly<Record<string, unknown>>): Result<Anchor> {
  const chain = key['x5c'];
  // section 4.2.1: exactly one certificate
  if (!Array.isArray(chain) || chain.length !== 1 || typeof chain[0] !== 'string')
    return invalid('an X.509 authority does not have exactly one certificate in x5c');
  const der = Buffer.from(chain[0], 'base64');
  const root = readForeignRoot(der);
  if (!root.ok) return root;
  const stated = publicKeyOf(key);
  if (stated !== undefined && !spkiOf(stated).equals(root.value.spkiDer))
    return invalid('the key of an X.509 authority differs from that of its certificate');
  return ok({ der: der.toString('base64'), isUsable: root.value.isUsable });
}

/** Undefined: a key of a type that no JWT-SVID has (JWT-SVID, section 2.1). */
function jwtKeyOf(key: Readonly<Record<string, unknown>>): Result<ForeignJwtKey | undefined> {
  const { kid: keyId, kty } = key;
  if (kty !== 'RSA' && !(kty === 'EC' && curves.includes(key['crv']))) return ok(undefined);
  if (typeof keyId !== 'string' || keyId === '' || keyId.length > maximumKeyIdLength)
    return invalid('a JWT key has no key ID, or one that is too long');
  const parsed = publicKeyOf(key);
  if (parsed === undefined) return invalid(`the JWT key ${JSON.stringify(keyId)} can not be read`);
  const weakness = rsaProblem(parsed);
  if (weakness !== undefined) return invalid(`the JWT key ${JSON.stringify(keyId)}: ${weakness}`);
  return ok({ keyId, spki: spkiOf(parsed).toString('base64') });
}

function publicKeyOf(key: Readonly<Record<string, unknown>>): KeyObject | undefined {
  try {
    return createPublicKey({ key: key as JsonWebKey, format: 'jwk' });
  } catch {
    return undefined;
  }
}

const count = (value: unknown): number | undefined => {
  if (value === undefined) return 0;
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
};

const invalid = (message: string): ReturnType<typeof fail> =>
  fail('FEDERATION_BUNDLE_INVALID', message);

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
