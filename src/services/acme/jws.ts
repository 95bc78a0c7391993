import { createHash, createPublicKey, verify, type JsonWebKey, type KeyObject } from 'node:crypto';
import { ecdsaSigValue, publicKeyOf, sha256Hex } from '../../common/x509/index.ts';
import { base64urlBytes, jsonObjectIn } from './encoding.ts';
import { accepted, badNonceText, problem, type AcmeResult } from './problem.ts';

/** The signature algorithms of account keys (RFC 8555 section 6.2): no MAC, and never `none`. */
export const accountAlgorithms = ['ES256', 'ES384', 'ES512', 'EdDSA', 'RS256'] as const;
export type AccountAlgorithm = (typeof accountAlgorithms)[number];

/** A request with a well-formed JWS, before anything of it is believed. */
export interface AcmeJws {
  readonly algorithm: AccountAlgorithm;
  /** Exactly one of the two is there: the key itself, or the URL of an account. */
  readonly by: { readonly jwk: AccountKey } | { readonly kid: string };
  readonly nonce: string;
  readonly url: string;
  /** Empty: POST-as-GET. */
  readonly payload: Buffer;
  /** The ASCII bytes that are signed (RFC 7515 section 5.1). */
  readonly signingInput: Buffer;
  readonly signature: Buffer;
}

/** The public key of an account. */
export interface AccountKey {
  readonly algorithm: AccountAlgorithm;
  /** The required members alone, in the order of RFC 7638. */
  readonly jwk: Readonly<Record<string, string>>;
  /** Base64url of the SHA-256 of the canonical JWK (RFC 7638). */
  readonly thumbprint: string;
  /** Of the SubjectPublicKeyInfo in DER, hex: keys are blocked by it. */
  readonly publicKeySha256: string;
  readonly key: KeyObject;
}

/** Of one request, in bytes. A CSR with 100 names has about 6,000. */
export const maximumJwsBytes = 64 * 1024;

/**
 * Parses the body of a request: flattened JSON serialization with one signature, everything in the
 * protected header, nothing detached (RFC 8555 section 6.2).
 *
 * @throws what `admitKey` throws
 */
export function parseAcmeJws(body: Buffer, judge: HeaderJudge): AcmeResult<AcmeJws> {
  if (body.length > maximumJwsBytes)
    return malformed(`the request has more than ${maximumJwsBytes} bytes`);
  const outer = jsonObjectIn(body);
  if (outer === undefined) return malformed('the request is not a JSON object');
  const parts = partsOf(outer);
  if (!parts.ok) return parts;
  const { protectedText, payload, payloadText, signature } = parts.value;
  const header = jsonObjectIn(base64urlBytes(protectedText));
  if (header === undefined) return malformed('the protected header is not a JSON object');
  const fields = headerOf(header, judge);
  if (!fields.ok) return fields;
  return accepted({
    ...fields.value,
    payload,
    signingInput: Buffer.from(`${protectedText}.${payloadText}`, 'ascii'),
    signature,
  });
}

/** Both are asked before a key is read, since reading one takes work. */
export interface HeaderJudge {
  readonly judgeNonce: (nonce: string) => boolean;
  /** The request contains a key of its own. Throws to refuse it. */
  readonly admitKey: () => void;
}

/** Verifies the signature, off the event loop. Never throws. */
export function verifyAcmeJws(
  jws: Pick<AcmeJws, 'algorithm' | 'signingInput' | 'signature'>,
  key: AccountKey,
): Promise<boolean> {
  // an account's key is used with its own algorithm alone, whatever a header says
  if (jws.algorithm !== key.algorithm) return Promise.resolve(false);
  const { keyType, digest, signatureBytes } = suites[key.algorithm];
  if (signatureBytes !== undefined && jws.signature.length !== signatureBytes)
    return Promise.resolve(false);
  // in the form of X.509: for the bare key. Given `{ key, dsaEncoding }`, Node throws and catches two
  // errors of its own, and their stacks cost more than all else that the loop does here
  const signature = keyType === 'EC' ? ecdsaSigValue(jws.signature) : jws.signature;
  return new Promise((resolve) => {
    verify(digest, jws.signingInput, key.key, signature, (error, valid) =>
      resolve(error === null && valid),
    );
  });
}

interface Suite {
  readonly keyType: string;
  readonly curve?: string;
  readonly digest: string | null;
  readonly signatureBytes?: number;
}

const suites: Readonly<Record<AccountAlgorithm, Suite>> = {
  ES256: { keyType: 'EC', curve: 'P-256', digest: 'sha256', signatureBytes: 64 },
  ES384: { keyType: 'EC', curve: 'P-384', digest: 'sha384', signatureBytes: 96 },
  ES512: { keyType: 'EC', curve: 'P-521', digest: 'sha512', signatureBytes: 132 },
  EdDSA: { keyType: 'OKP', curve: 'Ed25519', digest: null, signatureBytes: 64 },
  RS256: { keyType: 'RSA', digest: 'sha256' },
};

/** The members of a key in the order of RFC 7638 section 3.2, which is lexicographic. */
const requiredMembers: Readonly<Record<string, readonly string[]>> = {
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
};

/** Reads the public key of an account from a JWK. A private key is refused. */
export function accountKey(value: unknown, algorithm: AccountAlgorithm): AcmeResult<AccountKey> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return malformed('"jwk" is not an object');
  const given = value as Readonly<Record<string, unknown>>;
  if ('d' in given || 'k' in given)
    return problem(
      'badPublicKey',
      '"jwk" contains a private or symmetric key. Treat this key as compromised and make a new one',
    );
  const suite = suites[algorithm];
  if (given['kty'] !== suite.keyType || given['crv'] !== suite.curve)
    return problem('badPublicKey', `"jwk" is not a key for ${algorithm}`);
  const jwk: Record<string, string> = {};
  for (const name of requiredMembers[suite.keyType] as readonly string[]) {
    const member = given[name];
    if (typeof member !== 'string') return problem('badPublicKey', `"jwk" lacks "${name}"`);
    if (name !== 'kty' && name !== 'crv' && base64urlBytes(member) === undefined)
      return problem('badPublicKey', `"${name}" of "jwk" is not base64url without padding`);
    jwk[name] = member;
  }
  const key = importedKey(jwk);
  if (key === undefined) return problem('badPublicKey', '"jwk" is not a valid public key');
  const weakness = algorithm === 'RS256' ? rsaWeakness(key) : undefined;
  if (weakness !== undefined) return problem('badPublicKey', weakness);
  const publicKeySha256 = sha256Hex(key.export({ type: 'spki', format: 'der' }));
  return accepted({ algorithm, jwk, thumbprint: thumbprintOf(jwk), publicKeySha256, key });
}

function importedKey(jwk: Readonly<Record<string, string>>): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
    // another text for the same key would have another thumbprint: an account of its own
    const exported = key.export({ format: 'jwk' }) as Readonly<Record<string, unknown>>;
    return Object.entries(jwk).every(([name, text]) => exported[name] === text) ? key : undefined;
  } catch {
    return undefined;
  }
}

const rsaBits = { minimum: 2048, maximum: 4096 } as const;

function rsaWeakness(key: KeyObject): string | undefined {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (modulusLength < rsaBits.minimum || modulusLength > rsaBits.maximum)
    return (
      `the RSA key has ${modulusLength} bits, outside ${rsaBits.minimum} to ` +
      `${rsaBits.maximum}. Use ES256 or an RSA key of 2048 bits`
    );
  return publicExponent === 65_537n ? undefined : 'the exponent of the RSA key is not 65537';
}

interface Parts {
  readonly protectedText: string;
  readonly payloadText: string;
  readonly payload: Buffer;
  readonly signature: Buffer;
}

function partsOf(outer: Readonly<Record<string, unknown>>): AcmeResult<Parts> {
  const { protected: protectedText, payload: payloadText, signature: signatureText } = outer;
  if ('signatures' in outer) return malformed('a request has exactly one signature');
  if ('header' in outer) return malformed('a request has no unprotected header');
  if (typeof protectedText !== 'string' || typeof signatureText !== 'string')
    return malformed('"protected" and "signature" must be texts');
  if (typeof payloadText !== 'string')
    return malformed('"payload" is missing: a detached payload is not accepted');
  const [payload, signature] = [base64urlBytes(payloadText), base64urlBytes(signatureText)];
  if (
    payload === undefined ||
    signature === undefined ||
    base64urlBytes(protectedText) === undefined
  )
    return malformed('a part of the request is not base64url without padding');
  if (signature.length === 0) return malformed('"signature" is empty');
  return accepted({ protectedText, payloadText, payload, signature });
}

interface Header {
  readonly algorithm: AccountAlgorithm;
  readonly url: string;
}

/** What the header of every JWS says (RFC 8555 section 6.2). */
function commonHeader({
  alg,
  url,
  ...others
}: Readonly<Record<string, unknown>>): AcmeResult<Header> {
  if (!isAccountAlgorithm(alg))
    return problem(
      'badSignatureAlgorithm',
      `"alg" must be one of ${accountAlgorithms.join(', ')}`,
      { algorithms: accountAlgorithms },
    );
  if ('crit' in others || 'b64' in others)
    return malformed('"crit" and "b64" are not understood here');
  return typeof url === 'string'
    ? accepted({ algorithm: alg, url })
    : malformed('the protected header lacks "url"');
}

function headerOf(
  header: Readonly<Record<string, unknown>>,
  { judgeNonce, admitKey }: HeaderJudge,
): AcmeResult<Pick<AcmeJws, 'algorithm' | 'by' | 'nonce' | 'url'>> {
  const common = commonHeader(header);
  if (!common.ok) return common;
  const { nonce, jwk, kid } = header;
  if (typeof nonce !== 'string' || !/^[A-Za-z0-9_-]+$/.test(nonce))
    return problem('badNonce', `${badNonceText}: the protected header has none`);
  if (!judgeNonce(nonce))
    return problem('badNonce', `${badNonceText}: it was not made here, or has expired`);
  if ((jwk === undefined) === (kid === undefined))
    return malformed('the protected header must have exactly one of "jwk" and "kid"');
  if (kid !== undefined)
    return typeof kid === 'string'
      ? accepted({ ...common.value, by: { kid }, nonce })
      : malformed('"kid" is not a text');
  admitKey();
  const key = accountKey(jwk, common.value.algorithm);
  return key.ok ? accepted({ ...common.value, by: { jwk: key.value }, nonce }) : key;
}

/** The JWS inside a change of a key, signed with the new key (RFC 8555 section 7.3.5). */
export interface InnerJws extends Header {
  readonly key: AccountKey;
  readonly payload: Buffer;
  readonly signingInput: Buffer;
  readonly signature: Buffer;
}

/** Parses the payload of a change of a key. Its header has the new key, and no nonce. */
export function parseInnerJws(body: Buffer): AcmeResult<InnerJws> {
  const outer = jsonObjectIn(body);
  if (outer === undefined) return malformed('the payload is not a JWS in JSON');
  const parts = partsOf(outer);
  if (!parts.ok) return parts;
  const { protectedText, payload, payloadText, signature } = parts.value;
  const header = jsonObjectIn(base64urlBytes(protectedText));
  if (header === undefined) return malformed('the inner protected header is not a JSON object');
  const common = commonHeader(header);
  if (!common.ok) return common;
  if ('nonce' in header || 'kid' in header)
    return malformed('the inner protected header has a "nonce" or a "kid"');
  const key = accountKey(header['jwk'], common.value.algorithm);
  if (!key.ok) return key;
  const signingInput = Buffer.from(`${protectedText}.${payloadText}`, 'ascii');
  return accepted({ ...common.value, key: key.value, payload, signingInput, signature });
}

const isAccountAlgorithm = (value: unknown): value is AccountAlgorithm =>
  (accountAlgorithms as readonly unknown[]).includes(value);

const malformed = (detail: string): ReturnType<typeof problem> => problem('malformed', detail);

/** The thumbprint that an account with this key would have. Undefined: no account can have it. */
export function spkiThumbprint(spkiDer: Buffer): string | undefined {
  let exported: Readonly<Record<string, unknown>>;
  try {
    const key = publicKeyOf(spkiDer);
    exported = key.export({ format: 'jwk' }) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
  const members = requiredMembers[String(exported['kty'])];
  return members === undefined
    ? undefined
    : thumbprintOf(Object.fromEntries(members.map((name) => [name, String(exported[name])])));
}

const thumbprintOf = (jwk: Readonly<Record<string, string>>): string =>
  createHash('sha256').update(JSON.stringify(jwk)).digest('base64url');
