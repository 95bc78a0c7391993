import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemRandom } from '../../../../src/common/runtime/index.ts';
import type { AcmeAccount } from '../../../../src/domain/index.ts';
import { AccountKeys } from '../../../../src/services/acme/account-keys.ts';
import { AcmeGate, type AcmeRequest, type GateLimits } from '../../../../src/services/acme/gate.ts';
import { Nonces } from '../../../../src/services/acme/nonces.ts';
import { AcmeRefusal, refuse } from '../../../../src/services/acme/problem.ts';
import { AcmeUrls } from '../../../../src/services/acme/urls.ts';
import { UsedNonces } from '../../../../src/services/acme/used-nonces.ts';
import { acmeKey, jws } from '../../../support/acme/wire.ts';
import { FakeClock } from '../../../support/agent.ts';

const id = '01a22b77-eb28-7643-b3a4-bb779b91ed84';
const urls = new AcmeUrls('https://ca.test');
const url = urls.order(id);
const key = acmeKey();

/** `badSignatures`, `strangers`: so many are allowed. */
function world(account: Partial<AcmeAccount> = {}, badSignatures = 100, strangers = 100) {
  const clock = new FakeClock();
  const asked: string[] = [];
  const bad: string[] = [];
  const limits: GateLimits = {
    anonymous: (client) => {
      if (asked.push(client) > strangers) refuse('rateLimited', 'too many of strangers');
    },
    requireSignatures: (client, signer) => {
      const met = bad.filter((each) => each === `${client} ${signer}`);
      if (met.length >= badSignatures) refuse('rateLimited', 'too many');
    },
    badSignature: (client, signer) => void bad.push(`${client} ${signer}`),
  };
  const nonces = new Nonces({
    ...{ key: Buffer.alloc(32, 7), clock, random: systemRandom, lifeSeconds: 60 },
  });
  const reads: string[] = [];
  const row = {
    id,
    status: 'valid',
    algorithm: 'ES256',
    jwk: key.jwk,
    thumbprint: 't',
    ...account,
  };
  const gate = new AcmeGate({
    ...{ nonces, urls, used: new UsedNonces(clock) },
    ...{ keys: new AccountKeys({ get: () => undefined }), limits },
    accounts: {
      byId: (asked) => {
        reads.push(asked);
        return Promise.resolve(asked === id ? (row as AcmeAccount) : undefined);
      },
    },
  });
  const request = (header: object, over: Partial<AcmeRequest> = {}): AcmeRequest => ({
    ...{ url, contentType: 'application/jose+json', client: '192.0.2.1' },
    signal: new AbortController().signal,
    body: Buffer.from(
      JSON.stringify(
        jws(
          { alg: 'ES256', nonce: nonces.issue(), url, kid: urls.account(id), ...header },
          {},
          key,
        ),
      ),
    ),
    ...over,
  });
  return { clock, gate, reads, request, asked, bad };
}

/** The problem of a refused request. */
async function problemOf(opened: Promise<unknown>): Promise<string> {
  try {
    await opened;
    return 'opened';
  } catch (thrown) {
    assert.ok(thrown instanceof AcmeRefusal, String(thrown));
    return `${thrown.problem.status} ${thrown.problem.type}`;
  }
}

test('a request of an account is opened once', async () => {
  const { gate, request } = world();
  const asked = request({});
  const opened = await gate.ofAccount(asked);
  assert.equal(opened.account.id, id);
  assert.equal(opened.payload.toString(), '{}');
  assert.equal(await problemOf(gate.ofAccount(asked)), '400 badNonce');
});

test('a nonce that was not made here costs no read, no key and no signature', async () => {
  const { gate, reads, request } = world();
  for (const header of [
    { nonce: 'bm9uY2U' },
    { nonce: 'bm9uY2U', kid: undefined, jwk: { kty: 'EC' } },
    { nonce: 'bm9uY2U', url: 'https://other.test/' },
  ])
    assert.equal(await problemOf(gate.open(request(header))), '400 badNonce');
  assert.deepEqual(reads, []);
});

test('a nonce ends with its life', async () => {
  const { gate, clock, request } = world();
  const asked = request({});
  clock.advance(60_000);
  assert.equal(await problemOf(gate.open(asked)), '400 badNonce');
});

test('the URL is that of the resource, before any account is read', async () => {
  const { gate, reads, request } = world();
  assert.equal(await problemOf(gate.open(request({ url: `${url}/` }))), '403 unauthorized');
  assert.deepEqual(reads, []);
});

/** The same request with another signature. */
function forged({ body }: AcmeRequest): Buffer {
  const { signature, ...others } = JSON.parse(body.toString()) as Record<string, string>;
  const wrong = `${String(signature).slice(0, -4)}AAAA`;
  return Buffer.from(JSON.stringify({ ...others, signature: wrong }));
}

test('a nonce is good for one signature, right or wrong', async () => {
  const { gate, request } = world();
  const asked = request({});
  const attempt = { ...asked, body: forged(asked) };
  assert.equal(await problemOf(gate.open(attempt)), '400 malformed');
  assert.equal(await problemOf(gate.open(attempt)), '400 badNonce');
  assert.equal(await problemOf(gate.open(asked)), '400 badNonce');
});

test('wrong signatures of an account hold up that account at that address, and nobody else', async () => {
  const { gate, request, bad } = world({}, 2);
  const attempt = (asked: AcmeRequest) => problemOf(gate.open({ ...asked, body: forged(asked) }));
  for (const met of ['400 malformed', '400 malformed', '429 rateLimited'])
    assert.equal(await attempt(request({})), met);
  assert.equal(await problemOf(gate.open(request({}))), '429 rateLimited');
  assert.equal(await problemOf(gate.open(request({}, { client: '192.0.2.2' }))), 'opened');
  const byKey = { kid: undefined, jwk: key.jwk };
  assert.equal(await problemOf(gate.open(request(byKey))), 'opened', 'a key is held up by itself');
  for (const met of ['400 malformed', '400 malformed', '429 rateLimited'])
    assert.equal(await attempt(request(byKey)), met);
  const { thumbprint } = (await gate.ofKey(request(byKey, { client: '192.0.2.2' }))).key;
  assert.deepEqual(
    bad,
    [id, id, thumbprint, thumbprint].map((signer) => `192.0.2.1 ${signer}`),
  );
});

test('signatures with a new key each are bounded by the address, and hold up no account there', async () => {
  const { gate, request, bad } = world({}, 1, 3);
  const attempt = () => {
    const asked = request({ kid: undefined, jwk: acmeKey().jwk });
    return problemOf(gate.open({ ...asked, body: forged(asked) }));
  };
  for (const met of [...Array<string>(3).fill('400 malformed'), '429 rateLimited'])
    assert.equal(await attempt(), met);
  assert.equal(bad.length, 3, 'no other signature was verified');
  assert.equal(await problemOf(gate.open(request({}))), 'opened');
});

test('a key that a request contains is bounded by the address before it is read', async () => {
  const { gate, request, asked } = world();
  const byKey = { kid: undefined, jwk: { kty: 'EC' } };
  assert.equal(await problemOf(gate.open(request(byKey))), '400 badPublicKey');
  assert.equal(await problemOf(gate.open(request({ ...byKey, nonce: 'bm9uY2U' }))), '400 badNonce');
  await gate.open(request({}));
  assert.deepEqual(asked, ['192.0.2.1']);
});

test('of two requests with one nonce that come at once one is opened', async () => {
  const { gate, request } = world();
  const asked = request({});
  const opened = await Promise.all([problemOf(gate.open(asked)), problemOf(gate.open(asked))]);
  assert.deepEqual(opened.sort(), ['400 badNonce', 'opened']);
});

test('an account that has ended, or is none of ours, opens nothing', async () => {
  const ended = world({ status: 'deactivated' });
  assert.equal(await problemOf(ended.gate.open(ended.request({}))), '401 unauthorized');
  const { gate, request } = world();
  for (const kid of [urls.account(id.replace('01', '02')), `https://other.test/acme/account/${id}`])
    assert.equal(await problemOf(gate.open(request({ kid }))), '400 accountDoesNotExist');
});

test('another media type is refused with 415', async () => {
  const { gate, request } = world();
  for (const contentType of [undefined, 'application/json', 'application/x-www-form-urlencoded'])
    assert.equal(await problemOf(gate.open(request({}, { contentType }))), '415 malformed');
});

test('a resource of accounts takes no key, and one of keys no account', async () => {
  const { gate, request } = world();
  const byKey = { kid: undefined, jwk: key.jwk };
  assert.equal(await problemOf(gate.ofAccount(request(byKey))), '400 malformed');
  assert.equal(await problemOf(gate.ofKey(request({}))), '400 malformed');
  assert.equal((await gate.ofKey(request(byKey))).key.algorithm, 'ES256');
});
