import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { describe, it } from 'node:test';

import { PkiError } from '../../../src/common/errors/index.ts';
import { keySpecs, type EcSpec } from '../../../src/hsm/key-spec.ts';
import { ecdsaSigValue } from '../../../src/common/x509/index.ts';
import { verifiedSignature, type SigningKey } from '../../../src/hsm/signing-key.ts';
import { readEcSpki, readRsaSpki } from '../../../src/hsm/token-keys.ts';

describe('encodings between token and X.509', () => {
  it('turns r || s into an Ecdsa-Sig-Value that OpenSSL accepts, for small r and s too', () => {
    for (const curve of ['P-256', 'P-384'] as const) {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: curve });
      for (let round = 0; round < 300; round++) {
        const bytes = Buffer.from(`message ${round}`);
        const raw = sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' });
        assert.ok(verify('sha256', bytes, publicKey, ecdsaSigValue(raw)));
      }
    }
  });

  it('takes an answer of the token for a signature only if it verifies, whatever its bytes are', () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key: SigningKey = {
      ckaId: 'aa',
      spec: keySpecs['ec-p256'],
      publicKey,
      handle: Buffer.alloc(0),
      mechanism: { mechanism: 0 },
      outputLength: 128,
    };
    const bytes = Buffer.from('to be signed');
    const raw = sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    assert.deepEqual(verifiedSignature(key, bytes, raw, 'jose'), raw);
    assert.ok(verify('sha256', bytes, publicKey, verifiedSignature(key, bytes, raw, 'x509')));
    const swapped = Buffer.concat([raw.subarray(32), raw.subarray(0, 32)]);
    const longer = Buffer.concat([raw, Buffer.alloc(2)]);
    for (const answer of [swapped, longer, raw.subarray(1), Buffer.alloc(64), Buffer.alloc(0)])
      assert.throws(
        () => verifiedSignature(key, bytes, answer, 'x509'),
        (thrown) =>
          thrown instanceof PkiError &&
          thrown.code === 'HSM_SIGNATURE_INVALID' &&
          thrown.grade === 'fatal',
      );
  });

  it('builds the public key from a wrapped and from a bare EC point, and refuses what is no point', () => {
    for (const keyType of ['ec-p256', 'ec-p384'] as const) {
      const spec = keySpecs[keyType] as EcSpec;
      const { publicKey } = generateKeyPairSync('ec', { namedCurve: spec.namedCurve });
      const spkiDer = publicKey.export({ format: 'der', type: 'spki' });
      const bare = spkiDer.subarray(-spec.pointLength);
      const wrapped = Buffer.concat([Buffer.from([0x04, spec.pointLength]), bare]);
      assert.deepEqual(readEcSpki(spec.params, bare), { keyType, spkiDer });
      assert.deepEqual(readEcSpki(spec.params, wrapped), { keyType, spkiDer });
      const off = Buffer.from(bare);
      off[off.length - 1] = (off.at(-1) as number) ^ 1;
      assert.equal(readEcSpki(spec.params, off), undefined, 'not on the curve');
      assert.equal(readEcSpki(spec.params, bare.subarray(1)), undefined);
      assert.equal(readEcSpki(spec.params, Buffer.concat([wrapped, Buffer.from([0])])), undefined);
      for (const header of [
        '',
        '04',
        '0382',
        '0481',
        `0481${spec.pointLength.toString(16)}`,
        '0480',
      ])
        assert.equal(
          readEcSpki(spec.params, Buffer.concat([Buffer.from(header, 'hex'), bare, Buffer.of(0)])),
          undefined,
        );
      assert.equal(
        readEcSpki(spec.params, Buffer.concat([Buffer.of(3, bare.length), bare])),
        undefined,
      );
      assert.equal(readEcSpki(spec.params, wrapped.subarray(0, -1)), undefined, 'cut off');
      assert.equal(readEcSpki(spec.params, Buffer.alloc(0)), undefined);
      assert.equal(readEcSpki(Buffer.from('06052b8104000a', 'hex'), bare), undefined, 'secp256k1');
    }
  });

  it('builds the public key from an RSA modulus of a supported size, with or without a leading zero', () => {
    for (const [bits, keyType] of [
      [2048, 'rsa-2048'],
      [3072, 'rsa-3072'],
    ] as const) {
      const { publicKey } = generateKeyPairSync('rsa', { modulusLength: bits });
      const { n = '', e = '' } = publicKey.export({ format: 'jwk' });
      const spkiDer = publicKey.export({ format: 'der', type: 'spki' });
      const [modulus, exponent] = [Buffer.from(n, 'base64url'), Buffer.from(e, 'base64url')];
      assert.deepEqual(readRsaSpki(modulus, exponent), { keyType, spkiDer });
      assert.deepEqual(readRsaSpki(Buffer.concat([Buffer.from([0]), modulus]), exponent), {
        keyType,
        spkiDer,
      });
      assert.equal(
        createPublicKey({ key: spkiDer, format: 'der', type: 'spki' }).asymmetricKeyDetails
          ?.modulusLength,
        bits,
      );
    }
    assert.equal(readRsaSpki(Buffer.alloc(128, 0xff), Buffer.from([1, 0, 1])), undefined);
    assert.equal(readRsaSpki(Buffer.alloc(0), Buffer.from([1, 0, 1])), undefined);
    assert.equal(readRsaSpki(undefined, undefined), undefined);
  });
});
