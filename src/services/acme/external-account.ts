import { createHmac, timingSafeEqual } from 'node:crypto';
import { base64urlBytes, jsonObjectIn } from './encoding.ts';
import type { AccountKey } from './jws.ts';
import { accepted, problem, type AcmeResult } from './problem.ts';

/** A binding that is well-formed, before its MAC is judged (RFC 8555 section 7.3.4). */
export interface ExternalAccountBinding {
  /** The ID of the EAB key. */
  readonly keyId: string;
  readonly algorithm: MacAlgorithm;
  readonly signingInput: Buffer;
  readonly mac: Buffer;
}

const macs = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' } as const;
export type MacAlgorithm = keyof typeof macs;

/**
 * Reads the binding of a new account: a JWS with a MAC, the URL of the request, no nonce, and the
 * account's own key as its payload.
 */
export function parseExternalAccountBinding(
  value: unknown,
  { url, account }: { readonly url: string; readonly account: AccountKey },
): AcmeResult<ExternalAccountBinding> {
  const bad = (detail: string): ReturnType<typeof problem> =>
    problem('malformed', `the external account binding ${detail}`);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return bad('is not a JSON object');
  const {
    protected: protectedText,
    payload,
    signature,
    ...others
  } = value as Record<string, unknown>;
  if (Object.keys(others).length > 0) return bad('has other members than a flattened JWS');
  if (
    typeof protectedText !== 'string' ||
    typeof payload !== 'string' ||
    typeof signature !== 'string'
  )
    return bad('lacks "protected", "payload" or "signature"');
  const [header, jwk, mac] = [
    jsonObjectIn(base64urlBytes(protectedText)),
    jsonObjectIn(base64urlBytes(payload)),
    base64urlBytes(signature),
  ];
  if (header === undefined || jwk === undefined || mac === undefined)
    return bad('is not base64url of JSON');
  if (header['url'] !== url) return bad('has another "url" than the request');
  if ('nonce' in header || 'jwk' in header || 'crit' in header)
    return bad('has a nonce, a key or critical extensions');
  const { kid, alg } = header;
  if (typeof kid !== 'string' || kid === '') return bad('lacks "kid", the ID of the key');
  if (!isMac(alg))
    return problem(
      'badSignatureAlgorithm',
      `the external account binding needs one of ${Object.keys(macs).join(', ')}`,
      { algorithms: Object.keys(macs) },
    );
  if (!sameKey(jwk, account)) return bad('is for another key than that of the request');
  return accepted({
    keyId: kid,
    algorithm: alg,
    signingInput: Buffer.from(`${protectedText}.${payload}`, 'ascii'),
    mac,
  });
}

/** Judges the MAC in constant time. */
export function verifyExternalAccountBinding(
  { algorithm, signingInput, mac }: ExternalAccountBinding,
  key: Buffer,
): boolean {
  const expected = createHmac(macs[algorithm], key).update(signingInput).digest();
  return expected.length === mac.length && timingSafeEqual(expected, mac);
}

const isMac = (value: unknown): value is MacAlgorithm =>
  typeof value === 'string' && Object.hasOwn(macs, value);

/** Every required member is the same. Others decide nothing. */
const sameKey = (jwk: Readonly<Record<string, unknown>>, { jwk: own }: AccountKey): boolean =>
  Object.entries(own).every(([name, text]) => jwk[name] === text);
