import assert from 'node:assert/strict';
import { promisify } from 'node:util';
import { test } from 'node:test';
import { status, type Metadata, type ServiceError } from '@grpc/grpc-js';
import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { fromServiceError } from '../../../../../src/common/wire/index.ts';
import type { JWTBundlesResponse__Output } from '../../../../../src/common/wire/generated/JWTBundlesResponse.ts';
import type { JWTSVIDRequest } from '../../../../../src/common/wire/generated/JWTSVIDRequest.ts';
import type { JWTSVIDResponse__Output } from '../../../../../src/common/wire/generated/JWTSVIDResponse.ts';
import type { ValidateJWTSVIDResponse__Output } from '../../../../../src/common/wire/generated/ValidateJWTSVIDResponse.ts';
import { bundleOf, entryOf } from '../../../../support/local-server-fakes.ts';
import { collect, header, speak, startHarness, type Harness } from '../../local-server/support.ts';
import { isAlive } from '../../../../support/hsm.ts';
import { until } from '../../../../support/until.ts';

const mine = entryOf('a', 'spiffe://td.test/app', ['unix:uid:0'], { hint: 'x' });

function fetchJwt(harness: Harness, request: JWTSVIDRequest): Promise<JWTSVIDResponse__Output> {
  const client = harness.client();
  return promisify(
    (
      argument: JWTSVIDRequest,
      metadata: Metadata,
      callback: (error: ServiceError | null, value?: JWTSVIDResponse__Output) => void,
    ) => client.FetchJWTSVID(argument, metadata, callback),
  )(request, header()) as Promise<JWTSVIDResponse__Output>;
}

function validate(
  harness: Harness,
  audience: string,
  svid: string,
): Promise<ValidateJWTSVIDResponse__Output> {
  return new Promise((resolve, reject) => {
    harness
      .client()
      .ValidateJWTSVID({ audience, svid }, header(), (error, value) =>
        error === null ? resolve(value as ValidateJWTSVIDResponse__Output) : reject(error),
      );
  });
}

const codeOf = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'OK',
    (error: ServiceError) => `${status[error.code]} ${fromServiceError(error).code}`,
  );

test('JWT-SVIDs come for all identities, or for the one that is asked for, with unique hints', async () => {
  await using harness = await startHarness();
  harness.entries.set(mine, entryOf('b', 'spiffe://td.test/second', ['unix:uid:0'], { hint: 'x' }));
  const all = await fetchJwt(harness, { audience: ['db', 'cache'] });
  assert.deepEqual(
    all.svids.map((each) => [each.spiffeId, each.svid, each.hint]),
    [
      ['spiffe://td.test/app', 'token-for-db+cache', 'x'],
      ['spiffe://td.test/second', 'token-for-db+cache', ''],
    ],
  );
  const one = await fetchJwt(harness, { audience: ['db'], spiffeId: 'spiffe://td.test/second' });
  assert.deepEqual(
    one.svids.map((each) => each.spiffeId),
    ['spiffe://td.test/second'],
  );
});

test('no JWT-SVID without an audience, for an ID of others, or for a process without identity', async () => {
  await using harness = await startHarness();
  harness.entries.set(mine, entryOf('b', 'spiffe://td.test/theirs', ['unix:uid:4711']));
  assert.equal(
    await codeOf(fetchJwt(harness, { audience: [] })),
    'INVALID_ARGUMENT INVALID_REQUEST',
  );
  for (const bad of [
    '',
    'two\nlines',
    'db\u202e',
    '\u009b0m',
    'x'.repeat(513),
    '\u20ac'.repeat(171),
  ])
    assert.equal(
      await codeOf(fetchJwt(harness, { audience: ['db', bad] })),
      'INVALID_ARGUMENT INVALID_REQUEST',
      JSON.stringify(bad),
    );
  assert.equal(
    await codeOf(
      fetchJwt(harness, { audience: Array.from({ length: 17 }, (_, index) => `a${index}`) }),
    ),
    'INVALID_ARGUMENT INVALID_REQUEST',
  );
  assert.equal(
    await codeOf(fetchJwt(harness, { audience: ['db'], spiffeId: 'no-id' })),
    'INVALID_ARGUMENT SPIFFE_ID_INVALID',
  );
  assert.equal(
    await codeOf(fetchJwt(harness, { audience: ['db'], spiffeId: 'spiffe://td.test/theirs' })),
    'PERMISSION_DENIED NO_IDENTITY',
  );
  harness.entries.set();
  assert.equal(
    await codeOf(fetchJwt(harness, { audience: ['db'] })),
    'PERMISSION_DENIED NO_IDENTITY',
  );
  assert.equal(harness.svids.jwtCalls.length, 0);
});

test('new audiences are limited per user, known ones are not', async () => {
  await using harness = await startHarness({
    api: { limits: { newAudiencesBurst: 3, newAudiencesPerMinute: 1 } },
  });
  harness.entries.set(mine);
  for (const audience of ['a', 'b', 'c', 'a', 'b', 'c'])
    await fetchJwt(harness, { audience: [audience] });
  assert.equal(
    await codeOf(fetchJwt(harness, { audience: ['d'] })),
    'RESOURCE_EXHAUSTED RATE_LIMITED',
  );
  await fetchJwt(harness, { audience: ['a'] });
});

test('a process that exits while its JWT-SVID is being signed does not get it', async () => {
  await using harness = await startHarness();
  harness.entries.set(mine);
  let signed = (): void => {};
  harness.svids.jwtSigning = new Promise<void>((resolve) => (signed = resolve));
  const actor = await harness.actor();
  const { session } = speak(await actor.connect(harness.path));
  const body = Buffer.from([0, 0, 0, 0, 4, 0x0a, 2, 0x64, 0x62]);
  const request = session.request({
    ':method': 'POST',
    ':path': '/SpiffeWorkloadAPI/FetchJWTSVID',
    'content-type': 'application/grpc',
    te: 'trailers',
    'workload.spiffe.io': 'true',
  });
  let code: string | undefined;
  let received = 0;
  request.on('response', (headers) => (code = headers['meshca-code'] as string | undefined));
  request.on('data', (chunk: Buffer) => (received += chunk.length));
  request.on('error', () => {});
  request.end(body);
  await until(() => harness.svids.jwtCalls.length === 1);
  actor.kill();
  await until(() => !isAlive(actor.pid), 'the process has exited');
  signed();
  await until(() => request.closed);
  assert.deepEqual([code, received], ['PEER_UNVERIFIABLE', 0]);
});

test('JWT bundles are JWKS documents keyed by trust domain ID', async () => {
  await using harness = await startHarness();
  harness.entries.set({ ...mine, federatesWith: ['other.test'] });
  harness.bundles.set(bundleOf('td.test', 1, '{"keys":[{"kid":"1"}]}'), [
    bundleOf('other.test', 1, '{"keys":[]}'),
    bundleOf('third.test', 1, '{"keys":[]}'),
  ]);
  const stream = collect<JWTBundlesResponse__Output>(
    harness.client().FetchJWTBundles({}, header()),
  );
  const { bundles } = await stream.first();
  assert.deepEqual(
    Object.fromEntries(Object.entries(bundles).map(([id, bytes]) => [id, bytes.toString()])),
    { 'spiffe://other.test': '{"keys":[]}', 'spiffe://td.test': '{"keys":[{"kid":"1"}]}' },
  );
  harness.bundles.set(bundleOf('td.test', 2, '{"keys":[]}'));
  await stream.count(2);
  stream.cancel();
});

test('validation accepts what the specification allows, from the own and from federated trust domains', async () => {
  await using harness = await startHarness();
  harness.entries.set({ ...mine, federatesWith: ['other.test'] });
  const keys: {
    alg: string;
    sign: (claims?: Record<string, unknown>, head?: Record<string, unknown>) => Promise<string>;
    jwk: object;
  }[] = [];
  for (const alg of ['ES256', 'ES384', 'RS256', 'PS256']) {
    const { privateKey, publicKey } = await generateKeyPair(alg);
    const claims = {
      sub: 'spiffe://td.test/app',
      aud: ['db'],
      exp: Math.floor(Date.now() / 1000) + 60,
      nested: { list: [1, 'two', true, null] },
    };
    keys.push({
      alg,
      jwk: { ...(await exportJWK(publicKey)), kid: alg, use: 'jwt-svid' },
      sign: (more = {}, head = {}) =>
        new SignJWT({ ...claims, ...more })
          .setProtectedHeader({ alg, kid: alg, ...head })
          .sign(privateKey),
    });
  }
  harness.bundles.set(
    bundleOf('td.test', 1, JSON.stringify({ keys: keys.map((each) => each.jwk) })),
    [bundleOf('other.test', 1, JSON.stringify({ keys: [keys[0]?.jwk] }))],
  );
  for (const each of keys) {
    const { spiffeId, claims } = await validate(harness, 'db', await each.sign());
    assert.equal(spiffeId, 'spiffe://td.test/app', each.alg);
    assert.equal(
      claims?.fields?.['nested']?.structValue?.fields?.['list']?.listValue?.values?.[1]
        ?.stringValue,
      'two',
    );
  }
  const [ec, , rsa] = keys as [(typeof keys)[0], (typeof keys)[0], (typeof keys)[0]];
  await validate(harness, 'db', await ec.sign({ sub: 'spiffe://other.test/them' }));
  await validate(harness, 'db', await ec.sign({}, { typ: 'JOSE', kid: undefined }));
  for (const entries of [[mine], []]) {
    harness.entries.set(...entries);
    await validate(harness, 'db', await ec.sign());
    assert.equal(
      await codeOf(validate(harness, 'db', await ec.sign({ sub: 'spiffe://other.test/them' }))),
      'INVALID_ARGUMENT JWT_INVALID',
      'no entry of the caller names that trust domain',
    );
  }
  harness.entries.set({ ...mine, federatesWith: ['other.test'] });

  const invalid = 'INVALID_ARGUMENT JWT_INVALID';
  const past = Math.floor(Date.now() / 1000) - 1;
  const vectors: Record<string, string> = {
    'another audience': await ec.sign({ aud: 'cache' }),
    'no audience': await ec.sign({ aud: undefined }),
    expired: await ec.sign({ exp: past }),
    'no expiry': await ec.sign({ exp: undefined }),
    'not yet valid': await ec.sign({ nbf: past + 100 }),
    'no subject': await ec.sign({ sub: undefined }),
    'a subject that is no SPIFFE ID': await ec.sign({ sub: 'https://td.test/app' }),
    'a subject without path': await ec.sign({ sub: 'spiffe://td.test' }),
    'an unknown trust domain': await ec.sign({ sub: 'spiffe://unknown.test/app' }),
    'a key of another trust domain': await rsa.sign({ sub: 'spiffe://other.test/them' }),
    'another type': await ec.sign({}, { typ: 'at+jwt' }),
    'an unknown key ID': await ec.sign({}, { kid: 'nobody' }),
    'a changed signature': `${(await ec.sign()).slice(0, -4)}AAAA`,
    'no signature': new UnsecuredJWT({
      sub: 'spiffe://td.test/app',
      aud: 'db',
      exp: past + 100,
    }).encode(),
    'a symmetric key': await new SignJWT({
      sub: 'spiffe://td.test/app',
      aud: 'db',
      exp: past + 100,
    })
      .setProtectedHeader({ alg: 'HS256', kid: 'ES256' })
      .sign(Buffer.from(JSON.stringify(ec.jwk))),
    'no token': 'not.a.token',
    'a huge token': 'a'.repeat(20_000),
  };
  for (const [name, token] of Object.entries(vectors))
    assert.deepEqual([name, await codeOf(validate(harness, 'db', token))], [name, invalid]);
  assert.equal(
    await codeOf(validate(harness, '', await ec.sign())),
    'INVALID_ARGUMENT INVALID_REQUEST',
  );
});

test('a key that the bundle marks for X.509 does not verify a token', async () => {
  await using harness = await startHarness();
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  harness.bundles.set(
    bundleOf(
      'td.test',
      1,
      JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: '1', use: 'x509-svid' }] }),
    ),
  );
  const token = await new SignJWT({
    sub: 'spiffe://td.test/app',
    aud: 'db',
    exp: Math.floor(Date.now() / 1000) + 60,
  })
    .setProtectedHeader({ alg: 'ES256', kid: '1' })
    .sign(privateKey);
  assert.equal(await codeOf(validate(harness, 'db', token)), 'INVALID_ARGUMENT JWT_INVALID');
});
