import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { before, describe, it } from 'node:test';
import { exportJWK, FlattenedSign, type JWK } from 'jose';
import {
  parseExternalAccountBinding,
  verifyExternalAccountBinding,
} from '../../../../src/services/acme/external-account.ts';
import { accountKey, type AccountKey } from '../../../../src/services/acme/jws.ts';

const url = 'https://ca.test/acme/new-account';
const secret = Buffer.alloc(32, 9);
const encoded = (value: unknown): string =>
  Buffer.from(JSON.stringify(value)).toString('base64url');
let jwk: JWK;
let account: AccountKey;

before(async () => {
  jwk = await exportJWK(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
  const key = accountKey(jwk, 'ES256');
  assert.ok(key.ok);
  account = key.value;
});

const bound = (
  header: Readonly<Record<string, unknown>> = {},
  { payload = jwk, key = secret }: { payload?: unknown; key?: Buffer } = {},
) => {
  const protectedText = encoded({ alg: 'HS256', kid: 'key-1', url, ...header });
  const text = encoded(payload);
  const signature = createHmac('sha256', key)
    .update(`${protectedText}.${text}`)
    .digest('base64url');
  return { protected: protectedText, payload: text, signature };
};
const typeOf = (value: unknown): string => {
  const result = parseExternalAccountBinding(value, { url, account });
  if (!result.ok) return result.problem.type;
  return verifyExternalAccountBinding(result.value, secret) ? 'verified' : 'wrong MAC';
};

describe('an external account binding', () => {
  for (const alg of ['HS256', 'HS384', 'HS512'])
    it(`is verified with ${alg}, as another library makes it`, async () => {
      const jws = await new FlattenedSign(Buffer.from(JSON.stringify(jwk)))
        .setProtectedHeader({ alg, kid: 'key-1', url })
        .sign(Buffer.alloc(64, 9));
      const result = parseExternalAccountBinding(jws, { url, account });
      assert.ok(result.ok);
      assert.equal(result.value.keyId, 'key-1');
      assert.equal(verifyExternalAccountBinding(result.value, Buffer.alloc(64, 9)), true);
    });

  it('is verified with its own key alone', () => {
    assert.equal(typeOf(bound()), 'verified');
    assert.equal(typeOf(bound({}, { key: Buffer.alloc(32, 8) })), 'wrong MAC');
    assert.equal(typeOf({ ...bound(), signature: 'AA' }), 'wrong MAC');
  });

  const headers: readonly [string, Readonly<Record<string, unknown>>, string][] = [
    ['another URL', { url: 'https://ca.test/acme/new-order' }, 'malformed'],
    ['no URL', { url: undefined }, 'malformed'],
    ['a nonce', { nonce: 'x' }, 'malformed'],
    ['a key', { jwk: {} }, 'malformed'],
    ['critical extensions', { crit: ['b64'] }, 'malformed'],
    ['no ID', { kid: undefined }, 'malformed'],
    ['a signature in the place of a MAC', { alg: 'ES256' }, 'badSignatureAlgorithm'],
    ['no algorithm', { alg: 'none' }, 'badSignatureAlgorithm'],
    ['the name of a method of objects', { alg: 'toString' }, 'badSignatureAlgorithm'],
  ];
  for (const [name, header, type] of headers)
    it(`is refused with ${name}`, () => assert.equal(typeOf(bound(header)), type));

  it('is refused for the key of another account', async () => {
    const other = await exportJWK(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
    assert.equal(typeOf(bound({}, { payload: other })), 'malformed');
    assert.equal(typeOf(bound({}, { payload: {} })), 'malformed');
  });

  it('is refused in every other form', () => {
    const { protected: protectedText, ...rest } = bound();
    for (const value of [
      null,
      [],
      'x',
      rest,
      { ...bound(), header: {} },
      { ...bound(), payload: 1 },
    ])
      assert.equal(typeOf(value), 'malformed', JSON.stringify(value));
    assert.equal(typeOf({ ...rest, protected: `${protectedText}=` }), 'malformed');
  });
});
