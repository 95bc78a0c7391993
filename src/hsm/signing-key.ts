import type graphene from 'graphene-pk11';
import pkcs11 from 'pkcs11js';
import { hash, verify, type KeyObject } from 'node:crypto';

import { PkiError } from '../common/errors/index.ts';
import { ecdsaSigValue } from '../common/x509/ecdsa-signature.ts';
import { publicKeyOf } from '../common/x509/keys.ts';
import type { KeyHandle } from './signing-port.ts';
import { keySpecs, sha256DigestInfoPrefix, type KeySpec } from './key-spec.ts';
import type { EngineKey } from './signing-engine.ts';
import { hasMechanism, type OpenToken } from './module.ts';
import { checkPrivateKey, findPrivateKey } from './token-keys.ts';

/** A key in the token, with what is needed to sign with it and to verify its signatures. */
export interface SigningKey extends EngineKey {
  readonly ckaId: string;
  readonly spec: KeySpec;
  /**
   * The public key from the recorded certificate, not from the token: a token with an exchanged key
   * would otherwise vouch for itself.
   */
  readonly publicKey: KeyObject;
}

/**
 * Finds the key and checks its attributes.
 *
 * @throws PkiError HSM_KEY_NOT_FOUND, HSM_KEY_UNFIT, HSM_UNAVAILABLE, HSM_FAILED
 */
export function loadSigningKey(
  token: OpenToken,
  session: graphene.Session,
  key: KeyHandle,
): SigningKey {
  const handle = findPrivateKey(session, key.ckaId);
  if (handle === undefined)
    throw new PkiError(
      'HSM_KEY_NOT_FOUND',
      `C_FindObjects: the token holds no private key with the CKA_ID ${key.ckaId}`,
    );
  checkPrivateKey(handle, key.ckaId, key.keyType);
  const spec = keySpecs[key.keyType];
  return {
    ckaId: key.ckaId,
    spec,
    handle: handle.handle,
    mechanism: { mechanism: chooseMechanism(token, spec) },
    outputLength: spec.signatureLength + 64,
    publicKey: importRecordedKey(key, spec),
  };
}

/**
 * For ECDSA the hash is computed here: every token offers CKM_ECDSA, and the bytes need not be
 * sent. For RSA the DigestInfo is made here and signed with CKM_RSA_PKCS. A token that refuses the
 * bare mechanism (as in FIPS modes) hashes itself with CKM_SHA256_RSA_PKCS. Both give the same
 * signature (RFC 8017, section 8.2).
 */
function chooseMechanism(token: OpenToken, spec: KeySpec): number {
  if (spec.family === 'ec') return pkcs11.CKM_ECDSA;
  return hasMechanism(token, pkcs11.CKM_RSA_PKCS)
    ? pkcs11.CKM_RSA_PKCS
    : pkcs11.CKM_SHA256_RSA_PKCS;
}

function importRecordedKey(key: KeyHandle, spec: KeySpec): KeyObject {
  let publicKey: KeyObject;
  try {
    publicKey = publicKeyOf(key.spkiDer);
  } catch (thrown) {
    throw new PkiError(
      'HSM_KEY_UNFIT',
      `the recorded public key of ${key.ckaId} can not be imported`,
      { cause: thrown },
    );
  }
  const details = publicKey.asymmetricKeyDetails;
  const fits =
    spec.family === 'ec'
      ? details?.namedCurve === spec.namedCurve
      : details?.modulusLength === spec.modulusBits;
  if (!fits)
    throw new PkiError(
      'HSM_KEY_UNFIT',
      `the recorded public key of ${key.ckaId} is not of type ${key.keyType}`,
    );
  return publicKey;
}

/**
 * The token's input for these bytes. It has its own buffer, because asynchronous calls pass its
 * address to another thread.
 */
export function tokenInput(key: SigningKey, bytes: Buffer): Buffer {
  if (key.mechanism.mechanism === pkcs11.CKM_SHA256_RSA_PKCS) return bytes;
  const digest = hash(key.spec.hash, bytes, 'buffer');
  return key.spec.family === 'ec' ? digest : Buffer.concat([sha256DigestInfoPrefix, digest]);
}

/**
 * Verifies the token's signature and converts it to the requested form.
 *
 * @throws PkiError HSM_SIGNATURE_INVALID (fatal): an invalid signature means a defect or an attack
 *   in the token or on the way to it, and no later signature can be trusted
 */
export function verifiedSignature(
  key: SigningKey,
  bytes: Buffer,
  raw: Buffer,
  format: 'x509' | 'jose',
): Buffer {
  const isEc = key.spec.family === 'ec';
  const signature = isEc ? ecdsaSigValue(raw) : raw;
  // In the form of X.509, because it needs no options. Given `{ key, dsaEncoding }`, Node throws and
  // catches two errors of its own, and their stacks cost half as much as the verification.
  const valid =
    raw.length === key.spec.signatureLength &&
    verify(key.spec.hash, bytes, key.publicKey, signature);
  if (!valid) {
    throw new PkiError(
      'HSM_SIGNATURE_INVALID',
      `C_Sign: the signature by ${key.ckaId} does not verify with the recorded public key`,
      { grade: 'fatal' },
    );
  }
  return isEc && format === 'x509' ? signature : Buffer.from(raw);
}
