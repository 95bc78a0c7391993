import { sign, type KeyObject } from 'node:crypto';
import { unwrap } from '../../src/common/errors/index.ts';
import { keyTypeOfSpki, signatureAlgorithmFor, spkiOf } from '../../src/common/x509/index.ts';

/** A signature over the message, which proves possession of the key. */
export function signedBy(privateKey: KeyObject, message: Buffer): Buffer {
  const { hash } = signatureAlgorithmFor(unwrap(keyTypeOfSpki(spkiOf(privateKey))));
  return sign(hash, message, privateKey);
}
