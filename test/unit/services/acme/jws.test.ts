import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, it } from 'node:test';
import { calculateJwkThumbprint, exportJWK, FlattenedSign, type FlattenedJWS } from 'jose';
import {
  accountKey,
  maximumJwsBytes,
  parseAcmeJws,
  verifyAcmeJws,
  type AcmeJws,
} from '../../../../src/services/acme/jws.ts';

interface Pair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}
const pairs: Readonly<Record<string, Pair>> = {
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ES512: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  EdDSA: generateKeyPairSync('ed25519'),
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
};
const ec = pairs['ES256'] as Pair;
const url = 'https://ca.test/acme/new-order';
const base64url = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

async function signed(
  more: Readonly<Record<string, unknown>> = {},
  { algorithm = 'ES256', pair = ec }: { algorithm?: string; pair?: Pair } = {},
): Promise<FlattenedJWS> {
  const jwk = await exportJWK(pair.publicKey);
  const header = { alg: algorithm, nonce: 'bm9uY2U', url, jwk, ...more };
  return new FlattenedSign(Buffer.from('{"a":1}'))
    .setProtectedHeader(JSON.parse(JSON.stringify(header)) as { alg: string })
    .sign(pair.privateKey);
}

const judge = { judgeNonce: () => true, admitKey: () => {} };
const parsed = (value: unknown): AcmeJws => {
  const result = parseAcmeJws(bytes(value), judge);
  assert.ok(result.ok, JSON.stringify(result));
  return result.value;
};
const typeOf = (body: Buffer): string => {
  const result = parseAcmeJws(body, judge);
  return result.ok ? 'accepted' : result.problem.type;
};
const keyOf = (jws: AcmeJws) => {
  assert.ok('jwk' in jws.by);
  return jws.by.jwk;
};

describe('the JWS of an ACME request', () => {
  for (const [algorithm, pair] of Object.entries(pairs))
    it(`is read and verified with ${algorithm}`, async () => {
      const jws = parsed(await signed({}, { algorithm, pair }));
      const key = keyOf(jws);
      assert.equal(await verifyAcmeJws(jws, key), true);
      assert.equal(jws.payload.toString(), '{"a":1}');
      assert.equal(jws.url, url);
      assert.equal(key.thumbprint, await calculateJwkThumbprint(await exportJWK(pair.publicKey)));
      const altered = { ...jws, signingInput: Buffer.concat([jws.signingInput, Buffer.of(65)]) };
      assert.equal(await verifyAcmeJws(altered, key), false);
      const other = Buffer.from(jws.signature);
      other[5] = (other[5] as number) ^ 1;
      assert.equal(await verifyAcmeJws({ ...jws, signature: other }, key), false);
    });

  it('may name an account in the place of a key', async () => {
    const jws = parsed(await signed({ jwk: undefined, kid: 'https://ca.test/acme/account/1' }));
    assert.deepEqual(jws.by, { kid: 'https://ca.test/acme/account/1' });
  });

  it('with an empty payload is POST-as-GET', async () => {
    const jws = await signed();
    assert.equal(parsed({ ...jws, payload: '' }).payload.length, 0);
  });

  it('is never verified by the algorithm of a header alone', async () => {
    const jws = parsed(await signed());
    const key = keyOf(jws);
    assert.equal(await verifyAcmeJws({ ...jws, algorithm: 'RS256' }, key), false);
    assert.equal(await verifyAcmeJws({ ...jws, algorithm: 'ES384' }, key), false);
  });

  it('has an ECDSA signature of the exact length: DER is not accepted', async () => {
    const jws = parsed(await signed());
    const der = Buffer.concat([Buffer.from([0x30, 0x44]), jws.signature, Buffer.alloc(4)]);
    assert.equal(await verifyAcmeJws({ ...jws, signature: der }, keyOf(jws)), false);
    assert.equal(
      await verifyAcmeJws({ ...jws, signature: jws.signature.subarray(1) }, keyOf(jws)),
      false,
    );
  });

  const headers: readonly [string, Readonly<Record<string, unknown>>, string][] = [
    ['no algorithm', { alg: undefined }, 'badSignatureAlgorithm'],
    ['the algorithm none', { alg: 'none' }, 'badSignatureAlgorithm'],
    ['a MAC', { alg: 'HS256' }, 'badSignatureAlgorithm'],
    ['an algorithm that is not offered', { alg: 'PS256' }, 'badSignatureAlgorithm'],
    ['no nonce', { nonce: undefined }, 'badNonce'],
    ['a nonce with other characters', { nonce: 'a b' }, 'badNonce'],
    ['an empty nonce', { nonce: '' }, 'badNonce'],
    ['no URL', { url: undefined }, 'malformed'],
    ['a URL that is no text', { url: 1 }, 'malformed'],
    ['neither key nor account', { jwk: undefined }, 'malformed'],
    ['both key and account', { kid: 'x' }, 'malformed'],
    ['an account that is no text', { jwk: undefined, kid: 7 }, 'malformed'],
    ['critical extensions', { crit: ['exp'], exp: 1 }, 'malformed'],
    ['an unencoded payload', { b64: false }, 'malformed'],
    ['a key of another type', { alg: 'RS256' }, 'badPublicKey'],
    ['a key of another curve', { alg: 'ES384' }, 'badPublicKey'],
  ];
  for (const [name, header, type] of headers)
    it(`is refused with ${name}`, async () => {
      const jws = await signed();
      const before = JSON.parse(Buffer.from(jws.protected ?? '', 'base64url').toString()) as object;
      const altered = { ...jws, protected: base64url({ ...before, ...header }) };
      assert.equal(typeOf(bytes(altered)), type);
    });

  it('is refused in every other form', async () => {
    const jws = await signed();
    const forms: readonly [unknown, string][] = [
      [{ ...jws, header: { alg: 'none' } }, 'malformed'],
      [{ payload: jws.payload, signatures: [jws] }, 'malformed'],
      [{ ...jws, payload: undefined }, 'malformed'],
      [{ ...jws, signature: undefined }, 'malformed'],
      [{ ...jws, signature: '' }, 'malformed'],
      [{ ...jws, protected: undefined }, 'malformed'],
      [{ ...jws, protected: `${jws.protected}=` }, 'malformed'],
      [{ ...jws, payload: `${jws.payload}==` }, 'malformed'],
      [{ ...jws, payload: 'a+b/' }, 'malformed'],
      [{ ...jws, payload: 'e30\n' }, 'malformed'],
      [{ ...jws, payload: 'e31' }, 'malformed'],
      [{ ...jws, protected: base64url('[]') }, 'malformed'],
      [{ ...jws, protected: base64url('{') }, 'malformed'],
      [[jws], 'malformed'],
      ['text', 'malformed'],
      [null, 'malformed'],
    ];
    for (const [form, type] of forms) assert.equal(typeOf(bytes(form)), type, JSON.stringify(form));
    const compact = `${jws.protected}.${jws.payload}.${jws.signature}`;
    assert.equal(typeOf(Buffer.from(compact)), 'malformed');
    assert.equal(typeOf(Buffer.alloc(0)), 'malformed');
    assert.equal(typeOf(Buffer.from([0x7b, 0xff, 0x7d])), 'malformed');
    assert.equal(typeOf(Buffer.alloc(maximumJwsBytes + 1, 0x20)), 'malformed');
  });

  it('lists the algorithms where one is not accepted', () => {
    const result = parseAcmeJws(
      bytes({ protected: base64url({ alg: 'none' }), payload: '', signature: 'AA' }),
      judge,
    );
    assert.ok(!result.ok && result.problem.algorithms?.includes('ES256'));
  });
});

describe('the key of an account', () => {
  it('is refused with a private part', async () => {
    const result = accountKey(await exportJWK(ec.privateKey), 'ES256');
    assert.ok(!result.ok && result.problem.type === 'badPublicKey');
  });

  it('keeps the required members alone, so that others change no thumbprint', async () => {
    const jwk = await exportJWK(ec.publicKey);
    const plain = accountKey(jwk, 'ES256');
    const more = accountKey({ ...jwk, kid: 'a', use: 'sig', alg: 'RS256' }, 'ES256');
    assert.ok(plain.ok && more.ok);
    assert.equal(plain.value.thumbprint, more.value.thumbprint);
    assert.deepEqual(plain.value.jwk, more.value.jwk);
  });

  it('has one text only: no leading zeros, no point beside the curve', async () => {
    const jwk = await exportJWK(ec.publicKey);
    const x = Buffer.from(jwk.x as string, 'base64url');
    const longer = Buffer.concat([Buffer.alloc(1), x]).toString('base64url');
    const beside = Buffer.from(x);
    beside[31] = (beside[31] as number) ^ 1;
    for (const other of [longer, beside.toString('base64url'), '', 'AA', `${jwk.x}=`]) {
      const result = accountKey({ ...jwk, x: other }, 'ES256');
      assert.ok(!result.ok && result.problem.type === 'badPublicKey', other);
    }
    const rsa = await exportJWK((pairs['RS256'] as Pair).publicKey);
    const padded = Buffer.concat([Buffer.alloc(1), Buffer.from(rsa.n as string, 'base64url')]);
    const result = accountKey({ ...rsa, n: padded.toString('base64url') }, 'RS256');
    assert.ok(!result.ok && result.problem.type === 'badPublicKey');
  });

  for (const [modulusLength, publicExponent] of [
    [1024, 65_537],
    [2048, 3],
  ] as const)
    it(`is no RSA key of ${modulusLength} bits with the exponent ${publicExponent}`, async () => {
      const pair = generateKeyPairSync('rsa', { modulusLength, publicExponent });
      const result = accountKey(await exportJWK(pair.publicKey), 'RS256');
      assert.ok(!result.ok && result.problem.type === 'badPublicKey');
    });

  it('is no RSA key above 4096 bits, which costs much to use', () => {
    const n = Buffer.alloc(1024, 0xff).toString('base64url');
    const result = accountKey({ kty: 'RSA', n, e: 'AQAB' }, 'RS256');
    assert.ok(!result.ok && result.problem.type === 'badPublicKey');
  });

  for (const value of [null, 'text', [], {}, { kty: 'oct', k: 'AAAA' }, { kty: 'EC' }])
    it(`is not ${JSON.stringify(value)}`, () => {
      assert.equal(accountKey(value, 'ES256').ok, false);
    });
});
