import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWTPayload } from 'jose';
import { JwtSource } from '../../../src/workload/index.ts';
import { systemClock, type Clock } from '../../../src/common/runtime/index.ts';
import { FakeWorkloadApi } from '../../support/fake-workload-api.ts';
import { LeapClock } from '../../support/local-server-fakes.ts';
import { until } from '../../support/until.ts';

interface Signer {
  readonly key: CryptoKey;
  readonly jwk: object;
  readonly kid: string;
}

async function newSigner(kid: string, use = 'jwt-svid'): Promise<Signer> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  return { key: privateKey, kid, jwk: { ...(await exportJWK(publicKey)), kid, use } };
}

const now = (): number => Math.floor(Date.now() / 1000);
const sub = 'spiffe://a.test/web';
const token = (
  { key, kid }: Signer,
  claims: JWTPayload = {},
  header: Record<string, string> = {},
): Promise<string> =>
  new SignJWT({ sub, aud: ['api'], exp: now() + 60, iat: now(), ...claims })
    .setProtectedHeader({ alg: 'ES256', kid, ...header })
    .sign(key);
const jwks = (...signers: readonly Signer[]): string =>
  JSON.stringify({ keys: signers.map((each) => each.jwk) });

const [ours, foreign] = [await newSigner('one'), await newSigner('two')];

async function start(
  clock: Clock = systemClock,
): Promise<{ readonly api: FakeWorkloadApi; readonly source: JwtSource } & AsyncDisposable> {
  const api = await FakeWorkloadApi.start();
  api.setJwks({ 'spiffe://a.test': jwks(ours), 'spiffe://b.test': jwks(foreign) });
  const source = await JwtSource.connect({
    socketPath: api.socketPath,
    backoff: { initialMs: 5, maximumMs: 20 },
    clock,
  });
  return {
    api,
    source,
    [Symbol.asyncDispose]: async () => {
      await source.close();
      await api[Symbol.asyncDispose]();
    },
  };
}

test('a token is fetched once for many callers and kept until half of its life is gone', async () => {
  await using all = await start();
  const { api, source } = all;
  const life = { seconds: 16 };
  const first = await token(ours, { exp: now() + life.seconds });
  const second = await token(ours, { jti: 'second' });
  api.onJwt = () => ({ spiffeId: sub, svid: api.jwtCalls === 1 ? first : second });
  const many = await Promise.all(Array.from({ length: 20 }, () => source.fetch('api')));
  assert.equal(api.jwtCalls, 1);
  assert.equal(many[19]?.token, first);
  assert.equal((await source.fetch('api')).token, first);
  await until(() => {
    void source.fetch('api');
    return api.jwtCalls === 2;
  });
  assert.equal((await source.fetch('api')).token, second);
});

test('each set of audiences and each ID has its own token, whatever the order of the audiences', async () => {
  await using all = await start();
  const { api, source } = all;
  const made = await token(ours);
  api.onJwt = () => ({ spiffeId: sub, svid: made });
  await source.fetch(['x', 'y']);
  await source.fetch(['y', 'x']);
  assert.equal(api.jwtCalls, 1);
  await source.fetch('x');
  await source.fetch('x', sub);
  assert.equal(api.jwtCalls, 3);
});

test('while the agent is away a token past its half-life still serves, and a refusal is passed on', async () => {
  const clock = new LeapClock();
  await using all = await start(clock);
  const { api, source } = all;
  const made = await token(ours, { exp: now() + 2_000 });
  api.onJwt = () => ({ spiffeId: sub, svid: made });
  await source.fetch('api');
  // past the half, which is counted from the moment of the fetch
  clock.leap(1_001_000);
  api.refuseWith = status.PERMISSION_DENIED;
  await assert.rejects(source.fetch('api'), { code: 'NO_IDENTITY' });
  api.stop();
  assert.equal((await source.fetch('api')).token, made);
});

test('a token for someone else than the answer says is refused', async () => {
  await using all = await start();
  const made = await token(ours);
  all.api.onJwt = () => ({ spiffeId: 'spiffe://a.test/admin', svid: made });
  await assert.rejects(all.source.fetch('api'), { code: 'SVID_INVALID' });
  await assert.rejects(all.source.fetch(''), { code: 'INVALID_REQUEST' });
});

test('a good token of each held trust domain is valid for its audience', async () => {
  await using all = await start();
  const { source } = all;
  assert.equal((await source.validate(await token(ours), 'api')).id.toString(), sub);
  assert.equal(
    (await source.validate(await token(foreign, { sub: 'spiffe://b.test/x' }), 'api')).claims.sub,
    'spiffe://b.test/x',
  );
  assert.ok(await source.validate(await token(ours, {}, { typ: 'JWT' }), 'api'));
});

const wrong: readonly (readonly [string, () => Promise<string>, string])[] = [
  ['another audience', () => token(ours, { aud: ['other'] }), 'JWT_INVALID'],
  [
    'no audience',
    () =>
      new SignJWT({ sub, exp: now() + 60 })
        .setProtectedHeader({ alg: 'ES256', kid: 'one' })
        .sign(ours.key),
    'JWT_INVALID',
  ],
  ['an expiry in the past', () => token(ours, { exp: now() - 10 }), 'CERTIFICATE_EXPIRED'],
  [
    'no expiry',
    () =>
      new SignJWT({ sub, aud: 'api' })
        .setProtectedHeader({ alg: 'ES256', kid: 'one' })
        .sign(ours.key),
    'JWT_INVALID',
  ],
  ['a subject that is no SPIFFE ID', () => token(ours, { sub: 'web' }), 'JWT_INVALID'],
  [
    'the ID of a trust domain as subject',
    () => token(ours, { sub: 'spiffe://a.test' }),
    'JWT_INVALID',
  ],
  ['a subject of ours signed by another trust domain', () => token(foreign), 'CHAIN_UNTRUSTED'],
  [
    'the key ID of ours and the key of another',
    () => token({ ...foreign, kid: 'one' }),
    'CHAIN_UNTRUSTED',
  ],
  [
    'a trust domain that is not held',
    () => token(ours, { sub: 'spiffe://c.test/x' }),
    'CHAIN_UNTRUSTED',
  ],
  ['another type', () => token(ours, {}, { typ: 'at+jwt' }), 'JWT_INVALID'],
  [
    'a symmetric algorithm',
    () =>
      new SignJWT({ sub, aud: 'api', exp: now() + 60 })
        .setProtectedHeader({ alg: 'HS256', kid: 'one' })
        .sign(Buffer.from(JSON.stringify(ours.jwk))),
    'JWT_INVALID',
  ],
  [
    'no signature',
    async () =>
      `${Buffer.from('{"alg":"none"}').toString('base64url')}.${(await token(ours)).split('.')[1]}.`,
    'JWT_INVALID',
  ],
  [
    'a changed claim',
    async () => {
      const [head, , signature] = (await token(ours)).split('.');
      return `${head}.${Buffer.from(JSON.stringify({ sub: 'spiffe://a.test/admin', aud: 'api', exp: now() + 60 })).toString('base64url')}.${signature}`;
    },
    'CHAIN_UNTRUSTED',
  ],
  ['no form at all', () => Promise.resolve('not.a'), 'JWT_INVALID'],
];

for (const [name, make, code] of wrong) {
  test(`a token with ${name} is refused`, async () => {
    await using all = await start();
    await assert.rejects(all.source.validate(await make(), 'api'), { code });
  });
}

test('keys come and go with the bundle, and keys of other uses never validate', async () => {
  await using all = await start();
  const { api, source } = all;
  const next = await newSigner('next');
  const x509 = await newSigner('x509', 'x509-svid');
  api.setJwks({ 'spiffe://a.test': jwks(next, x509) });
  await until(() => source.trustDomains.length === 1);
  await assert.rejects(source.validate(await token(ours), 'api'), { code: 'CHAIN_UNTRUSTED' });
  await assert.rejects(source.validate(await token(x509), 'api'), { code: 'CHAIN_UNTRUSTED' });
  assert.ok(await source.validate(await token(next), 'api'));
});
