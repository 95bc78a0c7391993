import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import {
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
      key: createPublicKey({ key: certificate.spkiDer, format: 'der', type: 'spki' }),
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
