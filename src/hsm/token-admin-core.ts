import graphene from 'graphene-pk11';
import pkcs11 from 'pkcs11js';

import { PkiError } from '../common/errors/index.ts';
import { calling } from './ckr.ts';
import type { KeyHandle } from './signing-port.ts';
import type { TokenKey } from './token-port.ts';
import { keySpecs } from './key-spec.ts';
import { login, openToken, type OpenToken } from './module.ts';
import type { TokenAccess } from './protocol.ts';
import { checkedMac, loadMacKey, macCheckInput, macLength } from './mac-key.ts';
import { loadSigningKey, tokenInput, verifiedSignature } from './signing-key.ts';
import {
  checkPrivateKey,
  findMacKey,
  findPrivateKey,
  idOf,
  labelOf,
  privateKeys,
  publicKeys,
  readSpki,
  secretKeys,
} from './token-keys.ts';

/**
 * The work of the token-admin process, without its channel: one login, one read-write session, one
 * operation at a time.
 */
export class TokenAdminCore {
  readonly #token: OpenToken;
  readonly #session: graphene.Session;

  constructor(access: TokenAccess) {
    this.#token = openToken(access.modulePath, access.tokenLabel);
    this.#session = login(this.#token, access.pin, 'write');
  }

  generateKey(ckaId: string, label: string, keyType: KeyHandle['keyType']): Buffer {
    const id = idBytes(ckaId);
    if (privateKeys(this.#session, id).length > 0 || publicKeys(this.#session, id).length > 0) {
      throw new PkiError('ALREADY_EXISTS', `the token holds a key with the CKA_ID ${ckaId}`);
    }
    const spec = keySpecs[keyType];
    const mechanism =
      spec.family === 'ec' ? pkcs11.CKM_EC_KEY_PAIR_GEN : pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN;
    const kind =
      spec.family === 'ec'
        ? { paramsEC: spec.params }
        : { modulusBits: spec.modulusBits, publicExponent: Buffer.from([1, 0, 1]) };
    calling('C_GenerateKeyPair', () =>
      this.#session.generateKeyPair(
        mechanism,
        {
          token: true,
          private: false,
          modifiable: false,
          verify: true,
          encrypt: false,
          wrap: false,
          id,
          label,
          ...kind,
        },
        // Every default is stated: SoftHSM grants what a template leaves out (DECRYPT, UNWRAP,
        // MODIFIABLE, not SENSITIVE).
        {
          token: true,
          private: true,
          sensitive: true,
          extractable: false,
          modifiable: false,
          sign: true,
          signRecover: false,
          decrypt: false,
          unwrap: false,
          derive: false,
          id,
          label,
        },
      ),
    );
    return this.#proven(ckaId, keyType);
  }

  findKey(ckaId: string): TokenKey | undefined {
    const key = findPrivateKey(this.#session, ckaId);
    if (key === undefined) return undefined;
    checkPrivateKey(key, ckaId);
    const tokenKey = this.#describe(key, ckaId);
    if (tokenKey.keyType === 'other')
      throw new PkiError(
        'HSM_KEY_UNFIT',
        `the token holds no public key of a supported type for the CKA_ID ${ckaId}`,
      );
    return tokenKey;
  }

  generateMacKey(ckaId: string, label: string): Buffer {
    const id = idBytes(ckaId);
    if (secretKeys(this.#session, id).length > 0)
      throw new PkiError('ALREADY_EXISTS', `the token holds a secret key with the CKA_ID ${ckaId}`);
    const made = calling('C_GenerateKey', () =>
      // every default is stated, as for key pairs
      this.#session.generateKey(pkcs11.CKM_GENERIC_SECRET_KEY_GEN, {
        class: pkcs11.CKO_SECRET_KEY,
        keyType: pkcs11.CKK_GENERIC_SECRET,
        valueLen: macLength,
        token: true,
        private: true,
        sensitive: true,
        extractable: false,
        modifiable: false,
        sign: true,
        verify: false,
        encrypt: false,
        decrypt: false,
        wrap: false,
        unwrap: false,
        derive: false,
        id,
        label,
      }),
    );
    try {
      return this.#checkValue(ckaId);
    } catch (thrown) {
      // nothing uses it yet
      calling('C_DestroyObject', () => made.destroy());
      throw thrown;
    }
  }

  findMacKey(ckaId: string): Buffer | undefined {
    idBytes(ckaId);
    return findMacKey(this.#session, ckaId) === undefined ? undefined : this.#checkValue(ckaId);
  }

  listKeys(): TokenKey[] {
    return privateKeys(this.#session).map((key) => this.#describe(key, idOf(key)));
  }

  sign(key: KeyHandle, bytes: Buffer): Buffer {
    const loaded = loadSigningKey(this.#token, this.#session, key);
    const { lib } = this.#token.module;
    const { handle } = this.#session;
    calling('C_SignInit', () => lib.C_SignInit(handle, loaded.mechanism, loaded.handle));
    const raw = calling('C_Sign', () =>
      lib.C_Sign(handle, tokenInput(loaded, bytes), Buffer.alloc(loaded.spec.signatureLength + 64)),
    );
    return verifiedSignature(loaded, bytes, raw, 'x509');
  }

  destroyKey(ckaId: string): void {
    const id = idBytes(ckaId);
    const keys = privateKeys(this.#session, id);
    if (keys.length === 0)
      throw new PkiError(
        'HSM_KEY_NOT_FOUND',
        `the token holds no private key with the CKA_ID ${ckaId}`,
      );
    // The private key first: a leftover public key is harmless, and the next call finds it.
    for (const object of [...keys, ...publicKeys(this.#session, id)])
      calling('C_DestroyObject', () => object.destroy());
  }

  close(): void {
    this.#token.module.finalize();
  }

  /**
   * Checks the attributes and verifies a signature. If that fails the pair is destroyed, since
   * nothing uses it yet.
   */
  #proven(ckaId: string, keyType: KeyHandle['keyType']): Buffer {
    try {
      const made = this.findKey(ckaId);
      if (made?.keyType !== keyType)
        throw new PkiError(
          'HSM_KEY_UNFIT',
          `the token made a key of type ${made?.keyType ?? 'unknown'} instead of ${keyType}`,
        );
      this.sign(
        { ckaId, keyType, spkiDer: made.spkiDer },
        Buffer.from('\u0000meshca key generation test', 'utf8'),
      );
      return made.spkiDer;
    } catch (thrown) {
      this.destroyKey(ckaId);
      throw thrown;
    }
  }

  #checkValue(ckaId: string): Buffer {
    const key = loadMacKey(this.#session, { ckaId, checkValue: Buffer.alloc(0) });
    const { lib } = this.#token.module;
    const { handle } = this.#session;
    calling('C_SignInit', () => lib.C_SignInit(handle, key.mechanism, key.handle));
    const mac = calling('C_Sign', () =>
      lib.C_Sign(handle, macCheckInput, Buffer.alloc(key.outputLength)),
    );
    return checkedMac(key, mac);
  }

  #describe(key: graphene.SessionObject, ckaId: string): TokenKey {
    const [publicKey] = publicKeys(this.#session, Buffer.from(ckaId, 'hex'));
    const spki = publicKey === undefined || ckaId === '' ? undefined : readSpki(publicKey);
    return {
      ckaId,
      label: labelOf(key),
      keyType: spki?.keyType ?? 'other',
      spkiDer: spki?.spkiDer ?? Buffer.alloc(0),
    };
  }
}

function idBytes(ckaId: string): Buffer {
  if (!/^(?:[0-9a-f]{2}){1,64}$/.test(ckaId))
    throw new PkiError(
      'INVALID_REQUEST',
      `"${ckaId}" is not a CKA_ID in lower-case hex of 1 to 64 octets`,
    );
  return Buffer.from(ckaId, 'hex');
}
