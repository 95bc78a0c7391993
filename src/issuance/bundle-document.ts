import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { sha256Hex } from '../common/x509/index.ts';
import { hasOwnKey, maySign, type Authority } from '../domain/index.ts';

/**
 * Builds the SPIFFE bundle document of these authorities (SPIFFE_Trust_Domain_and_Bundle, section
 * 4). Roots appear as `x509-svid` with their certificate, JWT keys as `jwt-svid`. Intermediates are
 * left out, because each certificate in a bundle is a trust anchor. Equal inputs give equal text.
 */
export function bundleDocument(
  authorities: readonly Authority[],
  sequence: number,
  refreshHintSeconds: number,
): string {
  const keys = authorities
    .filter(
      (authority) =>
        (authority.kind === 'root' || authority.kind === 'jwt') && authority.spkiDer !== null,
    )
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((authority) => jwk(authority));
  return JSON.stringify({
    keys,
    spiffe_sequence: sequence,
    spiffe_refresh_hint: refreshHintSeconds,
  });
}

/** The trust anchors that a bundle document has, in its order. */
export interface BundleContent {
  readonly rootsDer: readonly Buffer[];
  readonly jwtKeys: readonly { readonly keyId: string; readonly spkiDer: Buffer }[];
}

export function bundleContent(document: string): BundleContent {
  const { keys } = JSON.parse(document) as {
    readonly keys: readonly (JsonWebKey & { readonly x5c?: readonly string[] })[];
  };
  return {
    rootsDer: keys
      .filter(({ use }) => use === 'x509-svid')
      .map(({ x5c }) => Buffer.from(x5c?.[0] as string, 'base64')),
    jwtKeys: keys
      .filter(({ use }) => use === 'jwt-svid')
      .map((key) => ({
        keyId: key['kid'] as string,
        spkiDer: createPublicKey({ key, format: 'jwk' }).export({ format: 'der', type: 'spki' }),
      })),
  };
}

/**
 * SHA-256 (hex) of the public keys of the issuing authorities of this server, under which alone
 * agents accept IDs below `/meshca/`. A published one is among them before it signs; a tainted one
 * is not.
 */
export function issuerKeys(authorities: readonly Authority[]): readonly string[] {
  const keys = authorities
    .filter(
      ({ kind, state, token }) =>
        kind === 'issuing' &&
        hasOwnKey({ token }) &&
        (maySign(state) || state === 'published' || state === 'old'),
    )
    .flatMap(({ spkiDer }) => (spkiDer === null ? [] : [sha256Hex(spkiDer)]));
  return [...new Set(keys)].sort();
}

/**
 * What a signed step says: the document, and the keys of the issuing authorities. Those have no place
 * in a SPIFFE bundle, where they would be trust anchors.
 */
export const stepPayload = (document: string, authorities: readonly Authority[]): string =>
  JSON.stringify({
    ...(JSON.parse(document) as object),
    meshca_issuers: issuerKeys(authorities),
  });

function jwk(authority: Authority): object {
  const key = createPublicKey({
    key: authority.spkiDer as Buffer,
    format: 'der',
    type: 'spki',
  }).export({ format: 'jwk' });
  if (authority.kind === 'root')
    return {
      ...key,
      use: 'x509-svid',
      x5c: [(authority.certificateDer as Buffer).toString('base64')],
    };
  return { ...key, use: 'jwt-svid', kid: authority.ckaId };
}
