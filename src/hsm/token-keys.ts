import graphene from 'graphene-pk11';
import pkcs11 from 'pkcs11js';
import { createPublicKey } from 'node:crypto';

import { PkiError } from '../common/errors/index.ts';
import { bitString, octetString, sequence, unsignedInteger } from '../common/x509/der-writer.ts';
import { keyTypes, type KeyType } from '../common/x509/key-type.ts';
import { calling, ckrName } from './ckr.ts';
import { ecPublicKeyOid, keySpecs, rsaAlgorithm } from './key-spec.ts';

/** Private keys with this CKA_ID. */
export function privateKeys(session: graphene.Session, ckaId?: Buffer): graphene.SessionObject[] {
  return find(session, graphene.ObjectClass.PRIVATE_KEY, ckaId);
}

export function publicKeys(session: graphene.Session, ckaId?: Buffer): graphene.SessionObject[] {
  return find(session, graphene.ObjectClass.PUBLIC_KEY, ckaId);
}

/** Secret keys with this CKA_ID. */
export const secretKeys = (
  session: graphene.Session,
  ckaId: Buffer,
): readonly graphene.SessionObject[] => find(session, graphene.ObjectClass.SECRET_KEY, ckaId);

function find(
  session: graphene.Session,
  objectClass: graphene.ObjectClass,
  ckaId: Buffer | undefined,
): graphene.SessionObject[] {
  const template = {
    class: objectClass,
    token: true,
    ...(ckaId === undefined ? {} : { id: ckaId }),
  };
  const objects = calling('C_FindObjects', () => session.find(template));
  return Array.from({ length: objects.length }, (_, index) => objects.items(index));
}

/**
 * The private key with this CKA_ID, or undefined. Two keys with one CKA_ID are refused.
 *
 * @throws PkiError HSM_KEY_UNFIT, HSM_UNAVAILABLE, HSM_FAILED
 */
export function findPrivateKey(
  session: graphene.Session,
  ckaId: string,
): graphene.SessionObject | undefined {
  return only(privateKeys(session, Buffer.from(ckaId, 'hex')), 'private', ckaId);
}

/** The secret key with this CKA_ID, likewise. */
export function findMacKey(
  session: graphene.Session,
  ckaId: string,
): graphene.SessionObject | undefined {
  return only(secretKeys(session, Buffer.from(ckaId, 'hex')), 'secret', ckaId);
}

function only(
  keys: readonly graphene.SessionObject[],
  what: string,
  ckaId: string,
): graphene.SessionObject | undefined {
  if (keys.length > 1)
    throw new PkiError(
      'HSM_KEY_UNFIT',
      `C_FindObjects: ${keys.length} ${what} keys have the CKA_ID ${ckaId}`,
    );
  return keys[0];
}

const boolean = (object: graphene.SessionObject, type: number): boolean | undefined => {
  const value = attribute(object, type);
  return value === undefined || value.length === 0 ? undefined : value[0] !== 0;
};

/** The bytes of an attribute. Undefined if the token does not have it. */
function attribute(object: graphene.SessionObject, type: number): Buffer | undefined {
  try {
    return object.getAttribute(type);
  } catch (thrown) {
    const name = ckrName(thrown);
    if (name === 'CKR_ATTRIBUTE_TYPE_INVALID' || name === 'CKR_ATTRIBUTE_SENSITIVE')
      return undefined;
    return calling('C_GetAttributeValue', () => {
      throw thrown;
    });
  }
}

/**
 * The required attributes of a key: made in this token, never outside it in the clear, for
 * signatures or MACs only.
 */
const required: readonly (readonly [string, number, boolean])[] = [
  ['CKA_LOCAL', pkcs11.CKA_LOCAL, true],
  ['CKA_ALWAYS_SENSITIVE', pkcs11.CKA_ALWAYS_SENSITIVE, true],
  ['CKA_NEVER_EXTRACTABLE', pkcs11.CKA_NEVER_EXTRACTABLE, true],
  ['CKA_SENSITIVE', pkcs11.CKA_SENSITIVE, true],
  ['CKA_EXTRACTABLE', pkcs11.CKA_EXTRACTABLE, false],
  ['CKA_SIGN', pkcs11.CKA_SIGN, true],
];

/**
 * Refused if the token reports true. If the token lacks the attribute, it can not do the operation
 * with the key either.
 */
const forbidden: readonly (readonly [string, number])[] = [
  ['CKA_DECRYPT', pkcs11.CKA_DECRYPT],
  ['CKA_UNWRAP', pkcs11.CKA_UNWRAP],
  ['CKA_DERIVE', pkcs11.CKA_DERIVE],
];

const forbiddenOfSecrets: readonly (readonly [string, number])[] = [
  ['CKA_ENCRYPT', pkcs11.CKA_ENCRYPT],
  ['CKA_WRAP', pkcs11.CKA_WRAP],
];

/** @throws PkiError HSM_KEY_UNFIT, naming each wrong attribute */
export function checkPrivateKey(
  key: graphene.SessionObject,
  ckaId: string,
  keyType?: KeyType,
): void {
  const wrong = wrongAttributes(key, forbidden);
  if (keyType !== undefined) {
    const family = attribute(key, pkcs11.CKA_KEY_TYPE)?.readUInt32LE(0);
    const expected = keySpecs[keyType].family === 'ec' ? pkcs11.CKK_EC : pkcs11.CKK_RSA;
    if (family !== expected) wrong.push(`CKA_KEY_TYPE is not that of ${keyType}`);
  }
  if (wrong.length > 0)
    throw new PkiError('HSM_KEY_UNFIT', `the key ${ckaId} may not sign: ${wrong.join(', ')}`);
}

/** @throws PkiError HSM_KEY_UNFIT, naming each wrong attribute */
export function checkMacKey(key: graphene.SessionObject, ckaId: string): void {
  const wrong = wrongAttributes(key, [...forbidden, ...forbiddenOfSecrets]);
  const family = attribute(key, pkcs11.CKA_KEY_TYPE)?.readUInt32LE(0);
  if (family !== pkcs11.CKK_GENERIC_SECRET) wrong.push('CKA_KEY_TYPE is not CKK_GENERIC_SECRET');
  if (wrong.length > 0)
    throw new PkiError(
      'HSM_KEY_UNFIT',
      `the secret key ${ckaId} may not be used for MACs: ${wrong.join(', ')}`,
    );
}

function wrongAttributes(
  key: graphene.SessionObject,
  refused: readonly (readonly [string, number])[],
): string[] {
  return [
    ...required
      .filter(([, type, value]) => boolean(key, type) !== value)
      .map(([name, , value]) => `${name} is not ${String(value)}`),
    ...refused.filter(([, type]) => boolean(key, type) === true).map(([name]) => `${name} is true`),
  ];
}

export const labelOf = (object: graphene.SessionObject): string =>
  attribute(object, pkcs11.CKA_LABEL)?.toString('utf8') ?? '';
export const idOf = (object: graphene.SessionObject): string =>
  attribute(object, pkcs11.CKA_ID)?.toString('hex') ?? '';

/** SubjectPublicKeyInfo of a public key object. Undefined for an unsupported type. */
export function readSpki(
  key: graphene.SessionObject,
): { readonly keyType: KeyType; readonly spkiDer: Buffer } | undefined {
  const family = attribute(key, pkcs11.CKA_KEY_TYPE)?.readUInt32LE(0);
  if (family === pkcs11.CKK_EC)
    return readEcSpki(attribute(key, pkcs11.CKA_EC_PARAMS), attribute(key, pkcs11.CKA_EC_POINT));
  if (family === pkcs11.CKK_RSA)
    return readRsaSpki(
      attribute(key, pkcs11.CKA_MODULUS),
      attribute(key, pkcs11.CKA_PUBLIC_EXPONENT),
    );
  return undefined;
}

type Spki = { readonly keyType: KeyType; readonly spkiDer: Buffer } | undefined;

/**
 * PKCS#11 2.40 requires CKA_EC_POINT as a DER OCTET STRING around the point. Older tokens return
 * the bare point.
 */
export function readEcSpki(params: Buffer | undefined, point: Buffer | undefined): Spki {
  if (params === undefined || point === undefined) return undefined;
  for (const keyType of keyTypes) {
    const spec = keySpecs[keyType];
    if (spec.family !== 'ec' || !spec.params.equals(params)) continue;
    const bare = point.subarray(-spec.pointLength);
    if (!point.equals(bare) && !point.equals(octetString(bare))) return undefined;
    if (bare.length !== spec.pointLength || bare[0] !== 0x04) return undefined;
    return checked(keyType, sequence(sequence(ecPublicKeyOid, spec.params), bitString(bare)));
  }
  return undefined;
}

export function readRsaSpki(modulus: Buffer | undefined, exponent: Buffer | undefined): Spki {
  if (modulus === undefined || exponent === undefined) return undefined;
  const spkiDer = sequence(
    rsaAlgorithm,
    bitString(sequence(unsignedInteger(modulus), unsignedInteger(exponent))),
  );
  const bits = modulusBits(modulus);
  for (const keyType of keyTypes) {
    const spec = keySpecs[keyType];
    if (spec.family === 'rsa' && spec.modulusBits === bits) return checked(keyType, spkiDer);
  }
  return undefined;
}

function modulusBits(modulus: Buffer): number {
  const start = modulus.findIndex((octet) => octet !== 0);
  return start < 0
    ? 0
    : (modulus.length - start) * 8 - Math.clz32((modulus[start] as number) << 24);
}

/**
 * The bytes come from outside: a key that OpenSSL does not import must not become a certificate.
 */
function checked(keyType: KeyType, spkiDer: Buffer): Spki {
  try {
    createPublicKey({ key: spkiDer, format: 'der', type: 'spki' });
    return { keyType, spkiDer };
  } catch {
    return undefined;
  }
}
