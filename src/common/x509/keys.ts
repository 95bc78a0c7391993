import { createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import type { KeyType } from './key-type.ts';
import { pemEncode } from './pem.ts';

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/**
 * A new software key pair (workloads and agents; never an authority), made on the thread pool so
 * that the event loop runs on.
 */
export function generateKeyPairAsync(keyType: KeyType): Promise<KeyPair> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, publicKey: KeyObject, privateKey: KeyObject): void => {
      if (error) reject(error);
      else resolve({ privateKey, publicKey });
    };
    if (keyType === 'ec-p256' || keyType === 'ec-p384')
      generateKeyPair('ec', { namedCurve: keyType === 'ec-p256' ? 'P-256' : 'P-384' }, done);
    else
      generateKeyPair(
        'rsa',
        { modulusLength: Number(keyType.slice('rsa-'.length)), publicExponent: 65537 },
        done,
      );
  });
}

/**
 * The public key in a SubjectPublicKeyInfo. Throws what Node throws, for bytes that are none or a
 * point off its curve. It goes as PEM text: given `{ key, format, type }`, Node throws and catches
 * four errors of its own, and their stacks cost as much as the import.
 */
export const publicKeyOf = (spkiDer: Buffer): KeyObject =>
  createPublicKey(pemEncode('PUBLIC KEY', spkiDer));

/** SubjectPublicKeyInfo DER of a public key, or of the public half of a private one. */
export const spkiOf = (key: KeyObject): Buffer =>
  (key.type === 'public' ? key : createPublicKey(key)).export({ format: 'der', type: 'spki' });

/** PKCS #8 DER, unencrypted. */
export const pkcs8Of = (privateKey: KeyObject): Buffer =>
  privateKey.export({ format: 'der', type: 'pkcs8' });
