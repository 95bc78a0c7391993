import { derNull, oid, sequence } from './der-writer.ts';
import type { KeyType } from './key-type.ts';
import type { SignatureAlgorithm } from './types.ts';

/**
 * AlgorithmIdentifier of each algorithm: RSA with NULL (RFC 4055 section 5), ECDSA without
 * parameters (RFC 5758 section 3.2).
 */
const identifiers: Readonly<Record<SignatureAlgorithm, Buffer>> = {
  'ecdsa-sha256': sequence(oid('1.2.840.10045.4.3.2')),
  'ecdsa-sha384': sequence(oid('1.2.840.10045.4.3.3')),
  'ecdsa-sha512': sequence(oid('1.2.840.10045.4.3.4')),
  'rsa-sha256': sequence(oid('1.2.840.113549.1.1.11'), derNull()),
  'rsa-sha384': sequence(oid('1.2.840.113549.1.1.12'), derNull()),
  'rsa-sha512': sequence(oid('1.2.840.113549.1.1.13'), derNull()),
};

const byDer = new Map(
  Object.entries(identifiers).map(([name, derBytes]) => [
    derBytes.toString('latin1'),
    name as SignatureAlgorithm,
  ]),
);

// RFC 4055 section 5: RSA without parameters must be accepted as well; we never write it
for (const [name, last] of [
  ['rsa-sha256', 11],
  ['rsa-sha384', 12],
  ['rsa-sha512', 13],
] as const)
  byDer.set(sequence(oid(`1.2.840.113549.1.1.${last}`)).toString('latin1'), name);

/**
 * The algorithm of a whole AlgorithmIdentifier element, or undefined if it is none of ours or has
 * other parameters.
 */
export const signatureAlgorithmOf = (
  algorithmIdentifierDer: Buffer,
): SignatureAlgorithm | undefined => byDer.get(algorithmIdentifierDer.toString('latin1'));

export interface SigningScheme {
  readonly name: SignatureAlgorithm;
  /** Name for node:crypto. */
  readonly hash: 'sha256' | 'sha384' | 'sha512';
  /** AlgorithmIdentifier with tag and length. */
  readonly algorithmIdentifierDer: Buffer;
}

/** The scheme that a key of this type signs with: SHA-256, but SHA-384 for P-384. */
export function signatureAlgorithmFor(keyType: KeyType): SigningScheme {
  return keyType === 'ec-p384'
    ? schemes['ecdsa-sha384']
    : keyType === 'ec-p256'
      ? schemes['ecdsa-sha256']
      : schemes['rsa-sha256'];
}

export const hashOf = (algorithm: SignatureAlgorithm): 'sha256' | 'sha384' | 'sha512' =>
  algorithm.slice(algorithm.indexOf('-') + 1) as 'sha256' | 'sha384' | 'sha512';

const schemes = Object.fromEntries(
  Object.entries(identifiers).map(([name, derBytes]) => [
    name,
    {
      name: name as SignatureAlgorithm,
      hash: hashOf(name as SignatureAlgorithm),
      algorithmIdentifierDer: derBytes,
    },
  ]),
) as Readonly<Record<SignatureAlgorithm, SigningScheme>>;
