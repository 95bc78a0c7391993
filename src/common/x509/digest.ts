import { createHash, hash } from 'node:crypto';
import { PkiError } from '../errors/index.ts';
import { DerError, DerReader, tag } from './der-reader.ts';

/** Lower-case hex. */
export const sha256Hex = (bytes: Buffer): string => hash('sha256', bytes, 'hex');

/** A copy of the last key that was asked for: a certificate is written and then read again. */
let lastKey: { readonly spkiDer: Buffer; readonly identifier: Buffer } | undefined;

/**
 * Key identifier of a public key: the leftmost 160 bits of the SHA-256 of the BIT STRING's content
 * (RFC 7093 section 2 method 1), so that nothing here needs SHA-1. 20 octets, never
 * to be written to. Throws KEY_UNSUPPORTED for what is not a SubjectPublicKeyInfo.
 */
export function keyIdentifierOf(spkiDer: Buffer): Buffer {
  if (lastKey?.spkiDer.equals(spkiDer) !== true)
    lastKey = { spkiDer: Buffer.from(spkiDer), identifier: identifierOf(spkiDer) };
  return lastKey.identifier;
}

function identifierOf(spkiDer: Buffer): Buffer {
  try {
    const spki = new DerReader(spkiDer).sequence('subjectPublicKeyInfo');
    spki.content(tag.sequence, 'algorithm');
    return hash('sha256', spki.octetBits('subjectPublicKey'), 'buffer').subarray(0, 20);
  } catch (thrown) {
    throw thrown instanceof DerError ? new PkiError('KEY_UNSUPPORTED', thrown.message) : thrown;
  }
}

/**
 * SHA-256 over the sorted SHA-256 digests of these encodings: names a set of authorities whatever
 * its order.
 */
export function setDigest(encodings: readonly Buffer[]): Buffer {
  const digests = encodings
    .map((encoding) => createHash('sha256').update(encoding).digest())
    .sort((a, b) => a.compare(b));
  const hash = createHash('sha256');
  for (const digest of digests) hash.update(digest);
  return hash.digest();
}
