import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { ErrorCode } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { selectorText } from '../../../../src/common/spiffe/index.ts';
import {
  tokensSchema,
  tokenVerifier,
  type TokenDemand,
  type TokenVerifier,
  type VerifiedToken,
} from '../../../../src/services/tokens/index.ts';
import { readPem } from '../../../../src/compose/settings.ts';
import { FakeClock } from '../../../support/agent.ts';
import {
  startTokenIssuer,
  tokenAudience,
  type TokenIssuer,
} from '../../../support/token-issuer.ts';
import { patienceMs } from '../../../support/until.ts';

const pipeline: TokenDemand = { purpose: 'pipeline' };

describe('tokens of an OIDC issuer that answers over TLS', () => {
  let issuer: TokenIssuer;
  let dir: string;
  let clock: FakeClock;
  let verifier: TokenVerifier;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'meshca-tokens-'));
    issuer = await startTokenIssuer();
    writeFileSync(join(dir, 'ca.pem'), issuer.caPem);
  });
  after(async () => {
    await issuer[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const open = (over: object = {}): TokenVerifier =>
    tokenVerifier(
      tokensSchema.parse({
        issuers: [
          {
            name: 'ci',
            type: 'oidc',
            issuer: issuer.url,
            audiences: [tokenAudience],
            caFile: join(dir, 'ca.pem'),
            timeoutSeconds: patienceMs / 2000,
            ...over,
          },
        ],
      }),
      { clock, logger: silentLogger, readFile: readPem },
    );
  beforeEach(async () => {
    clock = new FakeClock(Math.floor(Date.now() / 1000) * 1000);
    issuer.now = () => clock.now();
    issuer.answer = undefined;
    issuer.discovery = {};
    issuer.keys = [await issuer.newKey()];
    issuer.asked.length = 0;
    verifier = open();
  });

  const good = async (token: string, demand = pipeline): Promise<VerifiedToken> => {
    const verified = await verifier.verify(token, demand);
    assert.ok(verified.ok, verified.ok ? '' : `${verified.error.code}: ${verified.error.message}`);
    return verified.value;
  };
  const refused = async (token: string, demand = pipeline): Promise<ErrorCode> => {
    const verified = await verifier.verify(token, demand);
    assert.ok(!verified.ok, 'the token was accepted');
    assert.ok(token === '' || !verified.error.message.includes(token), 'the token is shown');
    return verified.error.code;
  };

  test('a token counts with its claims as selectors, and the keys are read once', async () => {
    const token = await issuer.token({
      repository: 'example/app',
      environment: 'production',
      run_attempt: 2,
      protected: true,
      groups: ['a', 'b'],
      'a:b': 'c',
      nested: { deep: 'x' },
      lines: 'a\nb',
    });
    const verified = await good(token);
    assert.deepEqual(verified.selectors.map(selectorText), [
      `oidc:aud:${tokenAudience}`,
      'oidc:environment:production',
      'oidc:groups:a',
      'oidc:groups:b',
      'oidc:protected:true',
      'oidc:repository:example/app',
      'oidc:run_attempt:2',
      'oidc:sub:repo:example/app:ref:refs/heads/main',
    ]);
    assert.equal(verified.issuer, 'ci');
    assert.equal(verified.kubernetes, undefined);
    assert.match(verified.useId, /^[0-9a-f]{64}$/);
    assert.notEqual((await good(await issuer.token())).useId, verified.useId);
    assert.deepEqual(issuer.asked, ['/.well-known/openid-configuration', '/jwks']);
    assert.equal(verifier.standings()[0]?.state, 'reachable');
  });

  test('a token without jti is known by its text, whatever signature stands below', async () => {
    issuer.keys = [await issuer.newKey('ES256')];
    const token = await issuer.token({ jti: undefined });
    const [head, claims, signature] = token.split('.') as [string, string, string];
    // whoever has an ECDSA signature (r, s) can make the good signature (r, n - s)
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const bytes = Buffer.from(signature, 'base64url');
    const s = order - BigInt(`0x${bytes.subarray(32).toString('hex')}`);
    Buffer.from(s.toString(16).padStart(64, '0'), 'hex').copy(bytes, 32);
    const twin = `${head}.${claims}.${bytes.toString('base64url')}`;
    assert.notEqual(twin, token);
    assert.equal((await good(twin)).useId, (await good(token)).useId);
  });

  test('a token that is no token is refused: TOKEN_MALFORMED', async () => {
    const token = await issuer.token();
    for (const bad of [
      '',
      'x',
      `${token}\n`,
      `Bearer ${token}`,
      `${token}.x`,
      'a'.repeat(20_000),
      await issuer.token({ sub: undefined }),
      await issuer.token({ iss: undefined }),
      await issuer.token({ aud: undefined }),
      await issuer.token({}, { header: { typ: 'logout+jwt' } }),
      await issuer.token({ jti: 7 }),
    ])
      assert.equal(await refused(bad), 'TOKEN_MALFORMED');
    assert.deepEqual(issuer.asked, []);
    await good(token);
  });

  test('an issuer that is not configured for this way in is refused: TOKEN_ISSUER_UNKNOWN', async () => {
    assert.equal(
      await refused(await issuer.token({ iss: `${issuer.url}/` })),
      'TOKEN_ISSUER_UNKNOWN',
    );
    const token = await issuer.token();
    assert.equal(await refused(token, { purpose: 'node' }), 'TOKEN_ISSUER_UNKNOWN');
    assert.equal(
      await refused(token, { purpose: 'pipeline', cluster: 'ci' }),
      'TOKEN_ISSUER_UNKNOWN',
    );
    verifier = open({ purposes: ['node'] });
    await good(token, { purpose: 'node' });
  });

  test('an algorithm outside of the list is refused: TOKEN_ALGORITHM_NOT_ALLOWED', async () => {
    issuer.keys = [await issuer.newKey('ES384')];
    const token = await issuer.token();
    assert.equal(await refused(token), 'TOKEN_ALGORITHM_NOT_ALLOWED');
    const [, claims] = token.split('.') as [string, string];
    for (const alg of ['none', 'HS256', 'RS1'])
      assert.equal(
        await refused(
          `${Buffer.from(JSON.stringify({ alg })).toString('base64url')}.${claims}.AAAA`,
        ),
        'TOKEN_ALGORITHM_NOT_ALLOWED',
      );
    assert.deepEqual(issuer.asked, []);
    verifier = open({ algorithms: ['ES384'] });
    await good(token);
  });

  test('a signature of another key is refused: TOKEN_SIGNATURE_INVALID', async () => {
    const other = await issuer.newKey('RS256', issuer.keys[0]?.kid);
    assert.equal(await refused(await issuer.token({}, { key: other })), 'TOKEN_SIGNATURE_INVALID');
    const token = await issuer.token();
    const [head, , signature] = token.split('.') as [string, string, string];
    const [, claims] = (await issuer.token({ sub: 'repo:example/other' })).split('.') as [
      string,
      string,
    ];
    assert.equal(await refused(`${head}.${claims}.${signature}`), 'TOKEN_SIGNATURE_INVALID');
    await good(token);
  });

  test('an ended token is refused, with the allowed difference of clocks: TOKEN_EXPIRED', async () => {
    const token = await issuer.token({ exp: clock.now() + 100 });
    clock.advance(129_000);
    await good(token);
    clock.advance(1_000);
    assert.equal(await refused(token), 'TOKEN_EXPIRED');
    await good(await issuer.token());
  });

  test('a token of later is refused, with the allowed difference of clocks: TOKEN_NOT_YET_VALID', async () => {
    const token = await issuer.token({}, { now: clock.now() + 31 });
    assert.equal(await refused(token), 'TOKEN_NOT_YET_VALID');
    assert.equal(
      await refused(await issuer.token({ nbf: clock.now() + 31 })),
      'TOKEN_NOT_YET_VALID',
    );
    clock.advance(1_000);
    await good(token);
  });

  test('a token without an end, or with a far one, is refused: TOKEN_LIFE_TOO_LONG', async () => {
    verifier = open({ maximumLifeSeconds: 300 });
    for (const claims of [
      { exp: undefined },
      { iat: undefined },
      { exp: clock.now() + 301 },
      { exp: 1e18 },
    ])
      assert.equal(await refused(await issuer.token(claims)), 'TOKEN_LIFE_TOO_LONG');
    await good(await issuer.token());
  });

  test('a token for others is refused: TOKEN_AUDIENCE_WRONG', async () => {
    assert.equal(await refused(await issuer.token({ aud: 'sts' })), 'TOKEN_AUDIENCE_WRONG');
    assert.equal(await refused(await issuer.token({ aud: [] })), 'TOKEN_AUDIENCE_WRONG');
    const own = await issuer.token();
    assert.equal(
      await refused(own, { purpose: 'pipeline', audiences: ['istio-ca'] }),
      'TOKEN_AUDIENCE_WRONG',
    );
    await good(await issuer.token({ aud: ['sts', tokenAudience] }));
  });

  test('a rollover of the issuer is noticed by the unknown key, at a limited rate: TOKEN_KEY_UNKNOWN', async () => {
    await good(await issuer.token());
    const old = issuer.keys[0];
    issuer.keys = [await issuer.newKey()];
    await good(await issuer.token());
    assert.equal(await refused(await issuer.token({}, { key: old as never })), 'TOKEN_KEY_UNKNOWN');
    const asked = issuer.asked.length;
    const stranger = await issuer.newKey();
    const codes = new Set<string>();
    for (let count = 0; count < 10; count += 1)
      codes.add(await refused(await issuer.token({}, { key: stranger })));
    // strangers make the server ask three times; then each must wait, and known keys count on
    assert.deepEqual([...codes].sort(), ['TOKEN_ISSUER_UNREACHABLE', 'TOKEN_KEY_UNKNOWN'].sort());
    assert.equal(issuer.asked.length - asked, 2);
    await good(await issuer.token());
    clock.advance(30_000);
    issuer.keys.unshift(await issuer.newKey());
    await good(await issuer.token());
  });

  test('an issuer without key IDs rolls over too', async () => {
    issuer.keys = [await issuer.newKey('RS256', null)];
    await good(await issuer.token());
    issuer.keys = [await issuer.newKey('RS256', null)];
    await good(await issuer.token());
    assert.equal(issuer.asked.filter((path) => path === '/jwks').length, 2);
  });

  test('a key that the issuer withdrew counts no more after the refresh', async () => {
    const old = await issuer.token({ exp: clock.now() + 3_600 });
    await good(old);
    issuer.keys = [await issuer.newKey()];
    clock.advance(300_000);
    await good(old);
    clock.advance(1_000);
    assert.equal(await refused(old), 'TOKEN_KEY_UNKNOWN');
    await good(await issuer.token());
  });

  test('known keys outlast an outage for the stated time: TOKEN_ISSUER_UNREACHABLE', async () => {
    verifier = open({ keys: { refreshSeconds: 60, keepSeconds: 600 }, timeoutSeconds: 5 });
    await good(await issuer.token());
    await issuer.stop();
    clock.advance(599_000);
    await good(await issuer.token());
    assert.equal(verifier.standings()[0]?.state, 'stale');
    assert.match(verifier.standings()[0]?.reason ?? '', /ECONNREFUSED/);
    clock.advance(2_000);
    const token = await issuer.token();
    const outage = await verifier.verify(token, pipeline);
    assert.ok(!outage.ok);
    assert.equal(outage.error.code, 'TOKEN_ISSUER_UNREACHABLE');
    // addresses of the inside are not for strangers
    assert.doesNotMatch(outage.error.message, /localhost|ECONN/);
    assert.equal(verifier.standings()[0]?.state, 'unreachable');
    await issuer.start();
    clock.advance(5_000);
    await good(token);
    assert.equal(verifier.standings()[0]?.state, 'reachable');
  });

  test('an answer that is no JWKS of this issuer, a redirect and a flood are an outage', async () => {
    const elsewhere = 'https://localhost:1/jwks';
    const bad: (() => void)[] = [
      () => (issuer.discovery = { issuer: 'https://localhost:1' }),
      () => (issuer.discovery = { jwks_uri: 7 }),
      () => (issuer.discovery = { jwks_uri: `http://localhost:1/jwks` }),
      () => (issuer.answer = () => ({ status: 302, headers: { location: elsewhere } })),
      () => (issuer.answer = () => ({ status: 500 })),
      () => (issuer.answer = () => ({ status: 200, body: 'no JSON' })),
      () => (issuer.answer = () => ({ status: 200, body: `"${'x'.repeat(600_000)}"` })),
      () => (issuer.keys = []),
    ];
    for (const spoil of bad) {
      issuer.answer = undefined;
      issuer.discovery = {};
      issuer.keys = [await issuer.newKey()];
      const token = await issuer.token();
      spoil();
      verifier = open();
      assert.equal(await refused(token), 'TOKEN_ISSUER_UNREACHABLE');
      assert.equal(verifier.standings()[0]?.state, 'unreachable');
    }
  });

  test('an issuer whose TLS certificate is of another CA is not believed', async () => {
    const token = await issuer.token();
    verifier = open({ caFile: undefined });
    assert.equal(await refused(token), 'TOKEN_ISSUER_UNREACHABLE');
    assert.deepEqual(issuer.asked, []);
  });

  test('keys for encryption, shared secrets, private keys and short RSA keys do not count', async () => {
    const [key] = issuer.keys as [NonNullable<(typeof issuer.keys)[0]>];
    const short = await import('node:crypto').then(({ generateKeyPairSync }) =>
      generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' }),
    );
    for (const jwk of [
      { ...key.jwk, use: 'enc' },
      { ...key.jwk, key_ops: ['encrypt'] },
      { ...key.jwk, d: 'AA' },
      { kty: 'oct', k: 'AAAA', kid: key.kid },
      { ...short, kid: key.kid },
    ]) {
      issuer.keys = [{ ...key, jwk: jwk as never }];
      verifier = open();
      assert.equal(await refused(await issuer.token({}, { key })), 'TOKEN_ISSUER_UNREACHABLE');
      assert.match(verifier.standings()[0]?.reason ?? '', /no key that may verify/);
    }
    issuer.keys = [{ ...key, jwk: { ...key.jwk, alg: 'RS512' } }];
    verifier = open();
    assert.equal(await refused(await issuer.token({}, { key })), 'TOKEN_KEY_UNKNOWN');
    issuer.keys = [key];
    verifier = open({ minimumRsaBits: 3072 });
    assert.equal(await refused(await issuer.token()), 'TOKEN_ISSUER_UNREACHABLE');
  });

  test('keys from a file need no network, and a new file counts within a second', async () => {
    const file = join(dir, 'jwks.json');
    const write = (): void =>
      writeFileSync(file, JSON.stringify({ keys: issuer.keys.map(({ jwk }) => jwk) }));
    write();
    verifier = open({ keys: { file } });
    await good(await issuer.token());
    const old = await issuer.token();
    issuer.keys = [await issuer.newKey()];
    write();
    await good(await issuer.token());
    assert.equal(await refused(old), 'TOKEN_KEY_UNKNOWN');
    writeFileSync(file, '{');
    clock.advance(2_000);
    await good(await issuer.token());
    assert.equal(verifier.standings()[0]?.state, 'stale');
    assert.deepEqual(issuer.asked, []);
  });

  test('many tokens at once cause one reading of the keys', async () => {
    const tokens = await Promise.all(Array.from({ length: 20 }, () => issuer.token()));
    await Promise.all(tokens.map((token) => good(token)));
    assert.equal(issuer.asked.length, 2);
  });

  test('a caller that left gets CANCELLED, and others get their answer', async () => {
    const token = await issuer.token();
    const left = new AbortController();
    const [gone, stays] = await Promise.all([
      verifier.verify(token, pipeline, left.signal),
      verifier.verify(token, pipeline),
      Promise.resolve(left.abort()),
    ]);
    assert.equal(gone.ok ? '' : gone.error.code, 'CANCELLED');
    assert.equal(stays.ok, true);
  });
});
