import assert from 'node:assert/strict';
import { checkPrimeSync, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { suite, test } from 'node:test';
import {
  derWriter,
  generateKeyPairAsync,
  keyIdentifierOf,
  keyTypeOfSpki,
  keyTypes,
  pkcs8Of,
  spkiOf,
} from '../../../../src/common/x509/index.ts';
import { makeKey } from '../../../support/x509.ts';

const { bitString, der, derNull, integer, oid, sequence, unsignedInteger } = derWriter;
const codeOf = (spki: Buffer): string => {
  const result = keyTypeOfSpki(spki);
  return result.ok ? result.value : result.error.code;
};
const rsaSpki = (
  modulus: Buffer,
  exponent: number | bigint = 65537,
  parameters = derNull(),
): Buffer =>
  sequence(
    sequence(oid('1.2.840.113549.1.1.1'), parameters),
    bitString(sequence(unsignedInteger(modulus), integer(exponent))),
  );
const modulusOf = (value: bigint): Buffer =>
  Buffer.from(value.toString(16).padStart(512, '0'), 'hex');

suite('keyTypeOfSpki', () => {
  test('judges the bytes: a key that passed does not vouch for one altered in the same buffer', async () => {
    const spki = Buffer.from(spkiOf((await generateKeyPairAsync('ec-p256')).publicKey));
    assert.equal(codeOf(spki), 'ec-p256');
    assert.equal(codeOf(spki), 'ec-p256');
    spki[spki.length - 1] = (spki[spki.length - 1] as number) ^ 1;
    assert.equal(codeOf(spki), 'KEY_WEAK');
    spki[spki.length - 1] = (spki[spki.length - 1] as number) ^ 1;
    assert.equal(codeOf(spki), 'ec-p256');
  });

  test('judges more keys than it remembers', async () => {
    const first = spkiOf((await generateKeyPairAsync('ec-p256')).publicKey);
    assert.equal(codeOf(first), 'ec-p256');
    for (let i = 0; i < 1100; i++) {
      const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
      assert.equal(codeOf(spkiOf(publicKey)), 'ec-p256');
    }
    assert.equal(codeOf(first), 'ec-p256');
  });

  test('knows every key type that it generates', async () => {
    for (const keyType of keyTypes) {
      const pair = await generateKeyPairAsync(keyType);
      assert.equal(codeOf(spkiOf(pair.publicKey)), keyType);
      assert.deepEqual(spkiOf(pair.privateKey), spkiOf(pair.publicKey));
      assert.equal(pkcs8Of(pair.privateKey)[0], 0x30);
    }
  });

  test('refuses a point that is not on its curve, or has a coordinate outside the field', () => {
    for (const keyType of ['ec-p256', 'ec-p384'] as const) {
      const good = makeKey(keyType).spkiDer;
      for (const at of [good.length - 1, good.length - 40]) {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] as number) ^ 1;
        assert.equal(codeOf(bad), 'KEY_WEAK');
      }
      const size = keyType === 'ec-p256' ? 32 : 48;
      const zero = Buffer.concat([
        good.subarray(0, good.length - 2 * size),
        Buffer.alloc(2 * size),
      ]);
      assert.equal(codeOf(zero), 'KEY_WEAK');
      assert.equal(
        codeOf(
          Buffer.concat([good.subarray(0, good.length - 2 * size), Buffer.alloc(2 * size, 0xff)]),
        ),
        'KEY_WEAK',
      );
    }
  });

  test('agrees with node:crypto on points on and off the curve', () => {
    const good = makeKey().spkiDer;
    for (let index = 0; index < 40; index += 1) {
      const candidate = Buffer.from(index % 2 === 0 ? makeKey().spkiDer : good);
      if (index % 2 === 1) candidate[27 + index] = (candidate[27 + index] as number) ^ 0x10;
      let accepted = true;
      try {
        createPublicKey({ key: candidate, format: 'der', type: 'spki' });
      } catch {
        accepted = false;
      }
      assert.equal(keyTypeOfSpki(candidate).ok, accepted);
    }
  });

  test('refuses other curves, compressed points, explicit parameters and other algorithms', () => {
    const spki = (options: {
      readonly namedCurve: string;
      readonly paramEncoding?: 'explicit';
    }): Buffer => spkiOf(generateKeyPairSync('ec', options).publicKey);
    assert.equal(codeOf(spki({ namedCurve: 'P-521' })), 'KEY_UNSUPPORTED');
    assert.equal(codeOf(spki({ namedCurve: 'secp256k1' })), 'KEY_UNSUPPORTED');
    assert.equal(
      codeOf(spki({ namedCurve: 'P-256', paramEncoding: 'explicit' })),
      'KEY_UNSUPPORTED',
    );
    const point = makeKey().spkiDer.subarray(27);
    const compressed = sequence(
      sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7')),
      bitString(Buffer.concat([Buffer.of(2 + ((point[63] as number) & 1)), point.subarray(0, 32)])),
    );
    assert.equal(codeOf(compressed), 'KEY_UNSUPPORTED');
    assert.equal(codeOf(spkiOf(generateKeyPairSync('ed25519').publicKey)), 'KEY_UNSUPPORTED');
    assert.equal(codeOf(Buffer.alloc(0)), 'KEY_UNSUPPORTED');
    assert.equal(codeOf(Buffer.concat([makeKey().spkiDer, Buffer.alloc(1)])), 'KEY_UNSUPPORTED');
    assert.equal(
      codeOf(Buffer.concat([makeKey('rsa-2048').spkiDer, Buffer.alloc(1)])),
      'KEY_UNSUPPORTED',
    );
  });

  test('refuses RSA keys of other sizes, exponents and encodings', () => {
    const rsa = (modulusLength: number, publicExponent = 65537): Buffer =>
      generateKeyPairSync('rsa', { modulusLength, publicExponent }).publicKey.export({
        format: 'der',
        type: 'spki',
      });
    assert.equal(codeOf(rsa(1024)), 'KEY_UNSUPPORTED');
    assert.equal(codeOf(rsa(2056)), 'KEY_UNSUPPORTED');
    assert.equal(codeOf(rsa(2047)), 'KEY_UNSUPPORTED');
    assert.equal(codeOf(rsa(2048, 3)), 'KEY_UNSUPPORTED');
    const modulus = Buffer.from(
      createPublicKey({ key: rsa(2048), format: 'der', type: 'spki' }).export({ format: 'jwk' })
        .n as string,
      'base64url',
    );
    assert.equal(codeOf(rsaSpki(modulus)), 'rsa-2048');
    assert.equal(codeOf(rsaSpki(modulus, 2n ** 64n + 1n)), 'KEY_UNSUPPORTED');
    assert.equal(codeOf(rsaSpki(modulus, 65537, Buffer.alloc(0))), 'KEY_UNSUPPORTED');
    assert.equal(codeOf(rsaSpki(modulus, 65537, der(0x30))), 'KEY_UNSUPPORTED');
  });

  test('refuses RSA moduli whose primes are close to each other', () => {
    // two primes above 2^1023.5, 2^500 apart at most: the root of the modulus is next to them
    const near = (start: bigint): bigint => {
      let candidate = start | 1n;
      while (!checkPrimeSync(candidate)) candidate += 2n;
      return candidate;
    };
    const p = near((2n ** 1023n * 3n) / 2n);
    for (const distance of [2n, 2n ** 400n, 2n ** 500n]) {
      const weak = p * near(p + distance);
      assert.equal(codeOf(rsaSpki(modulusOf(weak))), 'KEY_WEAK');
    }
    assert.equal(codeOf(rsaSpki(modulusOf(p * near(p + 2n ** 1000n)))), 'rsa-2048');
  });

  test('refuses RSA moduli with a known weakness', () => {
    const top = 2n ** 2047n;
    assert.equal(codeOf(rsaSpki(modulusOf(top + 2n))), 'KEY_WEAK');
    const withFactor = (factor: bigint): bigint => {
      const start = top + (factor - (top % factor));
      return start % 2n === 0n ? start + factor : start;
    };
    for (const factor of [3n, 101n, 751n])
      assert.equal(codeOf(rsaSpki(modulusOf(withFactor(factor)))), 'KEY_WEAK');
    // a ROCA-like modulus: a product of two numbers k * M + 65537^a mod M, M the product of the
    // first 126 primes
    const primes: bigint[] = [];
    for (let candidate = 2n; primes.length < 126; candidate += 1n)
      if (primes.every((prime) => candidate % prime !== 0n)) primes.push(candidate);
    const primorial = primes.reduce((product, prime) => product * prime, 1n);
    const power = (exponent: number): bigint =>
      Array.from({ length: exponent }).reduce<bigint>((value) => (value * 65537n) % primorial, 1n);
    // both factors just above 2^1023.5, so that the product has 2048 bits
    const k = (2n ** 1023n * 3n) / 2n / primorial;
    const roca = (k * primorial + power(901)) * (k * primorial + power(77));
    assert.equal(roca.toString(2).length, 2048);
    const result = keyTypeOfSpki(rsaSpki(modulusOf(roca)));
    assert.equal(result.ok ? 'OK' : result.error.code, 'KEY_WEAK');
  });
});

suite('keyIdentifierOf', () => {
  test('is the leftmost 160 bits of the SHA-256 of the key bits (RFC 7093)', () => {
    assert.equal(keyIdentifierOf(makeKey().spkiDer).length, 20);
    // RFC 7093 gives no vector: SHA-256 of the single octet 0x04
    const spki = sequence(sequence(oid('1.2.3')), bitString(Buffer.of(4)));
    assert.equal(keyIdentifierOf(spki).toString('hex'), 'e52d9c508c502347344d8c07ad91cbd6068afc75');
    assert.throws(() => keyIdentifierOf(Buffer.alloc(3)), { code: 'KEY_UNSUPPORTED' });
  });

  test('is that of the bytes, also of another key in the same buffer', () => {
    const [one, other] = [makeKey().spkiDer, makeKey().spkiDer];
    const before = keyIdentifierOf(one);
    other.copy(one);
    const after = keyIdentifierOf(one);
    assert.notDeepEqual(after, before);
    assert.deepEqual(after, keyIdentifierOf(Buffer.from(other)));
  });
});
