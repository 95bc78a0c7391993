import { verify, type KeyObject } from 'node:crypto';

import { fail, ok, type Result } from '../common/errors/index.ts';
import { bitString, sequence } from '../common/x509/der-writer.ts';
import { publicKeyOf } from '../common/x509/keys.ts';
import type { ProofOfPossession } from './signing-port.ts';
import { ecPublicKeyOid, keySpecs } from './key-spec.ts';

const algorithms = {
  'ecdsa-sha256': { type: 'ec', hash: 'sha256' },
  'ecdsa-sha384': { type: 'ec', hash: 'sha384' },
  'ecdsa-sha512': { type: 'ec', hash: 'sha512' },
  'rsa-sha256': { type: 'rsa', hash: 'sha256' },
  'rsa-sha384': { type: 'rsa', hash: 'sha384' },
  'rsa-sha512': { type: 'rsa', hash: 'sha512' },
} as const;

/**
 * Checks the proof that the requester holds the private key. KEY_WEAK: OpenSSL does not import the
 * key (a point off its curve), or the CA does not sign such keys. The parser has already checked
 * that, but the cost of a verification with an oversized RSA key would be ours.
 * CSR_SIGNATURE_INVALID: every other failure.
 */
export function checkProof(proof: ProofOfPossession): Result<undefined> {
  const algorithm = Object.hasOwn(algorithms, proof.algorithm)
    ? algorithms[proof.algorithm]
    : undefined;
  if (algorithm === undefined)
    return fail('CSR_SIGNATURE_INVALID', 'the signature algorithm of the proof is not supported');

  let key: KeyObject;
  try {
    key = publicKeyOf(proof.spkiDer);
  } catch {
    return fail(
      'KEY_WEAK',
      'the public key can not be imported: malformed, or not a point on its curve',
    );
  }
  const usual = isUsualEcKey(proof.spkiDer);
  const weakness = usual ? undefined : weaknessOf(key);
  if (weakness !== undefined) return fail('KEY_WEAK', weakness);

  if ((usual ? 'ec' : key.asymmetricKeyType) !== algorithm.type)
    return fail('CSR_SIGNATURE_INVALID', 'the signature algorithm does not belong to the key');
  try {
    if (verify(algorithm.hash, proof.signedBytes, key, proof.signature)) return ok(undefined);
  } catch {
    // OpenSSL throws for some malformed signatures instead of returning false.
  }
  return fail(
    'CSR_SIGNATURE_INVALID',
    'the signature of the request does not verify with the public key in it',
  );
}

/** The bytes before an uncompressed point in a SubjectPublicKeyInfo of our curves. */
const ecPrefixes = Object.values(keySpecs).flatMap((spec) => {
  if (spec.family !== 'ec') return [];
  const spki = sequence(
    sequence(ecPublicKeyOid, spec.params),
    bitString(Buffer.alloc(spec.pointLength)),
  );
  return [{ length: spki.length, prefix: spki.subarray(0, -spec.pointLength) }];
});

/**
 * Nearly all keys are usual. A comparison of bytes saves the 20 to 30 µs that Node needs to
 * describe the imported key.
 */
const isUsualEcKey = (spkiDer: Buffer): boolean =>
  ecPrefixes.some(
    ({ length, prefix }) =>
      spkiDer.length === length && prefix.compare(spkiDer, 0, prefix.length) === 0,
  );

function weaknessOf(key: KeyObject): string | undefined {
  const details = key.asymmetricKeyDetails;
  switch (key.asymmetricKeyType) {
    case 'ec':
      return details?.namedCurve === 'prime256v1' || details?.namedCurve === 'secp384r1'
        ? undefined
        : 'the curve is neither P-256 nor P-384';
    case 'rsa': {
      const bits = details?.modulusLength ?? 0;
      if (bits < 2048 || bits > 4096)
        return `an RSA modulus of ${bits} bits is outside 2048 to 4096`;
      return details?.publicExponent === 65_537n ? undefined : 'the RSA exponent is not 65537';
    }
    default:
      return 'the key is neither EC nor RSA';
  }
}
