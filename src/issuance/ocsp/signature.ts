import { verify, type KeyObject } from 'node:crypto';
import {
  publicKeyOf,
  keyTypeOfSpki,
  signatureAlgorithmFor,
  type ParsedCertificate,
} from '../../common/x509/index.ts';

interface Verifier {
  readonly key: KeyObject;
  readonly hash: string;
}

/** Made once per certificate object, dropped with it. */
const verifiers = new WeakMap<ParsedCertificate, Verifier>();

function verifierOf(certificate: ParsedCertificate): Verifier | undefined {
  let verifier = verifiers.get(certificate);
  if (verifier === undefined) {
    const keyType = keyTypeOfSpki(certificate.spkiDer);
    if (!keyType.ok) return undefined;
    verifier = {
      key: publicKeyOf(certificate.spkiDer),
      hash: signatureAlgorithmFor(keyType.value).hash,
    };
    verifiers.set(certificate, verifier);
  }
  return verifier;
}

/** Whether the key of this certificate of ours made the signature, in the way that ours sign. */
export function isSignedWith(
  certificate: ParsedCertificate,
  bytes: Buffer,
  signature: Buffer,
): boolean {
  const verifier = verifierOf(certificate);
  return verifier !== undefined && verify(verifier.hash, bytes, verifier.key, signature);
}

/** Bytes with the signature that a certificate of ours is said to have made. */
export interface SignedBytes {
  readonly certificate: ParsedCertificate;
  readonly bytes: Buffer;
  readonly signature: Buffer;
}

/** So many threads of libuv are used at once: a commit needs one too. */
const verifiedAtOnce = 3;

/**
 * As `isSignedWith` for each of them, in their order, in other threads. `signedBytes` is called for
 * one after another, between turns of the loop; undefined: it is not signed.
 */
export async function areSignedWith<T>(
  all: readonly T[],
  signedBytes: (each: T) => SignedBytes | undefined,
): Promise<readonly boolean[]> {
  const outcomes = all.map(() => false);
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < all.length) {
      const position = next++;
      const signed = signedBytes(all[position] as T);
      outcomes[position] = signed !== undefined && (await isSignedApart(signed));
    }
  };
  await Promise.all(Array.from({ length: verifiedAtOnce }, work));
  return outcomes;
}

function isSignedApart({ certificate, bytes, signature }: SignedBytes): Promise<boolean> {
  const verifier = verifierOf(certificate);
  if (verifier === undefined) return Promise.resolve(false);
  return new Promise((resolve) => {
    verify(verifier.hash, bytes, verifier.key, signature, (error, isValid) =>
      resolve(error === null && isValid),
    );
  });
}
