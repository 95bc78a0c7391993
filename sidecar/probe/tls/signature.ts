import { constants, verify, X509Certificate, type KeyObject } from 'node:crypto';
import { ProbeFailure } from '../failure.ts';

interface Scheme {
  readonly keyType: 'ec' | 'rsa' | 'rsa-pss' | 'ed25519' | 'ed448';
  readonly hash: string | null;
  readonly pss?: true;
  /** The curve that TLS 1.3 binds the hash to. */
  readonly curve?: string;
}

/** SignatureScheme (RFC 8446 section 4.2.3), the preferred first. Nothing with SHA-1. */
const schemes: ReadonlyMap<number, Scheme> = new Map<number, Scheme>([
  [0x0403, { keyType: 'ec', hash: 'sha256', curve: 'prime256v1' }],
  [0x0503, { keyType: 'ec', hash: 'sha384', curve: 'secp384r1' }],
  [0x0603, { keyType: 'ec', hash: 'sha512', curve: 'secp521r1' }],
  [0x0807, { keyType: 'ed25519', hash: null }],
  [0x0808, { keyType: 'ed448', hash: null }],
  [0x0804, { keyType: 'rsa', hash: 'sha256', pss: true }],
  [0x0805, { keyType: 'rsa', hash: 'sha384', pss: true }],
  [0x0806, { keyType: 'rsa', hash: 'sha512', pss: true }],
  [0x0809, { keyType: 'rsa-pss', hash: 'sha256', pss: true }],
  [0x080a, { keyType: 'rsa-pss', hash: 'sha384', pss: true }],
  [0x080b, { keyType: 'rsa-pss', hash: 'sha512', pss: true }],
  [0x0401, { keyType: 'rsa', hash: 'sha256' }],
  [0x0501, { keyType: 'rsa', hash: 'sha384' }],
  [0x0601, { keyType: 'rsa', hash: 'sha512' }],
]);

export const signatureSchemes: readonly number[] = [...schemes.keys()];

export interface SignedProof {
  readonly version: '1.2' | '1.3';
  readonly scheme: number;
  readonly signed: Buffer;
  readonly signature: Buffer;
}

/**
 * Checks that the holder of the leaf's key signed what it had to. This is the proof that the server
 * has the key. Throws ProbeFailure.
 */
export function checkProof(leaf: X509Certificate, proof: SignedProof): void {
  const scheme = schemes.get(proof.scheme);
  const hex = `0x${proof.scheme.toString(16).padStart(4, '0')}`;
  if (scheme === undefined)
    throw new ProbeFailure(`the server signed with the scheme ${hex}, which was not offered`);
  const key = keyOf(leaf);
  const fits =
    key.asymmetricKeyType === scheme.keyType &&
    (proof.version === '1.2' ||
      (scheme.curve === key.asymmetricKeyDetails?.namedCurve &&
        (scheme.keyType !== 'rsa' || scheme.pss === true)));
  if (!fits)
    throw new ProbeFailure(`the server signed with the scheme ${hex}, which its key does not fit`);
  if (!verified(scheme, key, proof))
    throw new ProbeFailure('the server has not the key of the certificate that it presents');
}

function keyOf(leaf: X509Certificate): KeyObject {
  try {
    return leaf.publicKey;
  } catch (thrown) {
    throw new ProbeFailure('the certificate of the server has no usable key', { cause: thrown });
  }
}

function verified(scheme: Scheme, key: KeyObject, { signed, signature }: SignedProof): boolean {
  const padding =
    scheme.pss === true
      ? {
          padding: constants.RSA_PKCS1_PSS_PADDING,
          saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
        }
      : {};
  try {
    return verify(scheme.hash, signed, { key, ...padding }, signature);
  } catch {
    // a key of type RSA-PSS may bind other parameters
    return false;
  }
}

/** Throws ProbeFailure for what OpenSSL reads as no certificate. */
export function readLeaf(der: Buffer): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (thrown) {
    throw new ProbeFailure('the server presents a malformed certificate', { cause: thrown });
  }
}
