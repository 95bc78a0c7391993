import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import {
  certificatesFromPem,
  parseCertificate,
  sha256Hex,
  spkiOf,
} from '../../../src/common/x509/index.ts';
import { unwrap } from '../../../src/common/errors/index.ts';
import { csr, order, www } from '../../support/acme/attack.ts';
import { acmeKey, base64url, jws } from '../../support/acme/wire.ts';
import { createAcmeWorld } from '../../support/acme/world.ts';
import { newKey } from '../../support/services-world.ts';
import { until } from '../../support/until.ts';

test('the directory names its resources, and a nonce is there for HEAD and GET', async () => {
  await using world = await createAcmeWorld();
  const { wire } = world;
  const directory = await wire.ask('GET', world.url('directory'));
  assert.equal(directory.json['newOrder'], world.url('new-order'));
  assert.deepEqual(
    (directory.json['meta'] as object as { externalAccountRequired: boolean })
      .externalAccountRequired,
    true,
  );
  assert.equal(directory.headers.link, undefined);
  for (const [method, status] of [
    ['HEAD', 200],
    ['GET', 204],
  ] as const) {
    const { status: got, headers } = await wire.ask(method, world.url('new-nonce'));
    assert.deepEqual([got, headers['cache-control']], [status, 'no-store'], method);
    assert.match(String(headers['replay-nonce']), /^[A-Za-z0-9_-]{46}$/);
    assert.equal(headers.link, `<${world.url('directory')}>;rel="index"`);
  }
});

test('an account is made once, found by its key, and changes its contacts and its key', async () => {
  await using world = await createAcmeWorld();
  const { wire } = world;
  const alice = await world.account();
  const again = await wire.post(
    world.url('new-account'),
    { onlyReturnExisting: true },
    { key: alice.key },
  );
  assert.deepEqual([again.status, again.headers.location], [200, alice.kid]);
  const contact = ['mailto:ops@shop.test'];
  assert.deepEqual((await alice.post(alice.kid, { contact })).json['contact'], contact);
  const log = await world.services.audit('acme.account.changed');
  assert.ok(
    !log.some(({ canonical }) => canonical.includes('ops@shop.test')),
    'no contact in the log',
  );
  const stranger = await wire.post(
    world.url('new-account'),
    { onlyReturnExisting: true },
    { key: acmeKey() },
  );
  assert.equal(stranger.problem, 'accountDoesNotExist');
  const orderUrl = await alice.order();
  const [key, url] = [acmeKey('RS256'), world.url('key-change')];
  const inner = jws(
    { alg: key.alg, jwk: key.jwk, url },
    { account: alice.kid, oldKey: alice.key.jwk },
    key,
  );
  assert.equal((await alice.post(url, inner)).status, 200);
  const read = await wire.post(orderUrl, undefined, { key, kid: alice.kid });
  assert.equal(read.json['status'], 'ready', 'the orders stay');
  const listed = await wire.post(`${alice.kid}/orders`, undefined, { key, kid: alice.kid });
  assert.deepEqual(listed.json['orders'], [orderUrl]);
});

test('an order for owned names is ready at once, and its certificate is there with the answer', async () => {
  await using world = await createAcmeWorld();
  const alice = await world.account();
  const made = await alice.post(world.url('new-order'), order());
  const orderUrl = String(made.headers.location);
  assert.deepEqual([made.status, made.json['status']], [201, 'ready']);
  const [authorization] = made.json['authorizations'] as readonly string[];
  const shown = await alice.post(String(authorization), undefined);
  assert.deepEqual([shown.json['status'], shown.json['challenges']], ['valid', []]);
  const request = csr(www);
  const done = await alice.post(`${orderUrl}/finalize`, request);
  assert.deepEqual(
    [done.status, done.json['status'], done.headers.location],
    [200, 'valid', orderUrl],
  );
  const lost = await alice.post(`${orderUrl}/finalize`, request);
  assert.equal(lost.json['certificate'], done.json['certificate'], 'the same CSR again');
  const chain = await alice.post(String(done.json['certificate']), undefined);
  assert.equal(chain.headers['content-type'], 'application/pem-certificate-chain');
  const [leaf, issuer] = unwrap(certificatesFromPem(chain.text)).map((der) =>
    unwrap(parseCertificate(der)),
  );
  assert.deepEqual(leaf?.dnsSans, ['www.shop.test']);
  assert.ok(issuer?.isCa);
  assert.equal((await world.services.audit('certificate.issued')).length, 1);
});

test('a challenge is offered with one token, and links to its authorization', async () => {
  await using world = await createAcmeWorld();
  const client = await world.account({ eab: await world.eabKey({ proof: 'challenge' }) });
  const orderUrl = await client.order();
  const authz = orderUrl.replace('/order/', '/authz/').concat('/0');
  const { json } = await client.post(authz, undefined);
  const challenges = json['challenges'] as readonly Readonly<Record<string, string>>[];
  assert.deepEqual(
    challenges.map(({ type }) => type),
    ['http-01', 'dns-01'],
  );
  assert.equal(new Set(challenges.map(({ token }) => token)).size, 1);
  const url = String(challenges[0]?.['url']);
  const asked = await client.post(url, {});
  assert.deepEqual(
    [asked.status, asked.json['status'], asked.json['url']],
    [200, 'processing', url],
  );
  assert.ok((asked.headers.link as string).includes(`<${authz}>;rel="up"`));
});

test('after a crash an order is issued from its stored CSR, once', async () => {
  await using world = await createAcmeWorld();
  const { store } = world.services;
  const alice = await world.account();
  const orderUrl = await alice.order();
  const present = await world.orderOf(orderUrl);
  assert.ok(present !== undefined);
  // as a process leaves it that dies right after it has stored the CSR
  await store.acme.orders.update(
    {
      ...present,
      stage: 'finalizing',
      csrDer: Buffer.from(csr(www).csr, 'base64url'),
      version: present.version + 1,
    },
    {
      rights: [],
      event: {
        timeMs: 0,
        actor: 'acme:a',
        kind: 'acme.order.changed',
        subject: present.id,
        detail: {},
      },
    },
  );
  assert.equal((await alice.post(orderUrl, undefined)).json['status'], 'processing');
  await world.restart();
  await until(async () => (await world.orderOf(orderUrl))?.stage === 'issued');
  await world.restart();
  assert.equal((await alice.post(orderUrl, undefined)).json['status'], 'valid');
  assert.equal((await world.services.audit('certificate.issued')).length, 1);
});

test('renewal information moves with a revocation, and the order that replaces says so', async () => {
  await using world = await createAcmeWorld();
  const alice = await world.account();
  const { ariId, der } = await alice.certificate();
  const info = await world.wire.ask('GET', world.url(`renewal-info/${ariId}`));
  assert.deepEqual([info.status, info.headers['retry-after']], [200, '21600']);
  const startOf = (json: typeof info.json): number =>
    Date.parse((json['suggestedWindow'] as { readonly start: string }).start);
  assert.ok(startOf(info.json) > world.services.clock.nowMs());
  const renewed = await alice.post(world.url('new-order'), { ...order(), replaces: ariId });
  assert.deepEqual([renewed.status, renewed.json['replaces']], [201, ariId]);
  const revoked = await alice.post(world.url('revoke-cert'), {
    certificate: base64url(der),
    reason: 4,
  });
  assert.equal(revoked.status, 200);
  const after = await world.wire.ask('GET', world.url(`renewal-info/${ariId}`));
  assert.ok(startOf(after.json) < world.services.clock.nowMs());
});

test('the key of a certificate revokes it without an account, and gets no further certificate', async () => {
  await using world = await createAcmeWorld();
  const alice = await world.account();
  const { der, serial, key } = await alice.certificate(newKey());
  const signer = {
    privateKey: key,
    alg: 'ES256',
    jwk: createPublicKey(key).export({ format: 'jwk' }),
  };
  const certificate = base64url(der);
  const revoked = await world.wire.post(world.url('revoke-cert'), { certificate }, { key: signer });
  assert.equal(revoked.status, 200, revoked.text);
  assert.equal(world.services.store.revocations.revocation(serial)?.reason, 'keyCompromise');
  assert.ok(world.services.store.blockedKeys.get(sha256Hex(spkiOf(key))) !== undefined);
  const again = await world.wire.post(world.url('revoke-cert'), { certificate }, { key: signer });
  assert.equal(again.problem, 'alreadyRevoked');
  const orderUrl = await alice.order();
  const refused = await alice.post(`${orderUrl}/finalize`, csr(www, key));
  assert.deepEqual([refused.problem, refused.json['code']], ['badCSR', 'KEY_BLOCKED']);
});

test('a limit is named, with its wait and a page that explains it', async () => {
  await using world = await createAcmeWorld({ ordersPerAccount: { count: 1, seconds: 300 } });
  const alice = await world.account();
  await alice.order();
  const refused = await alice.post(world.url('new-order'), order());
  assert.deepEqual(
    [refused.status, refused.problem, refused.headers['retry-after']],
    [503, 'rateLimited', '300'],
  );
  assert.match(String(refused.json['detail']), /ordersPerAccount/);
  assert.ok((refused.headers.link as string).includes(`<${world.url('limits')}>;rel="help"`));
  const page = await world.wire.ask('GET', world.url('limits'));
  assert.match(page.text, /^ordersPerAccount: 1 in 300 s$/m);
  world.services.clock.advance(300_000);
  await alice.order();
});

test('an address without an account is bounded, also at its nonces', async () => {
  await using world = await createAcmeWorld({ anonymousPerSecond: 0.2 });
  const ask = (path: string) => world.wire.ask('GET', world.url(path));
  assert.deepEqual([(await ask('directory')).status, (await ask('new-nonce')).status], [200, 204]);
  for (const path of ['directory', 'new-nonce', 'renewal-info/a.b']) {
    const { status, problem, headers } = await ask(path);
    assert.deepEqual([status, problem, headers['retry-after']], [503, 'rateLimited', '5'], path);
  }
  world.services.clock.advance(5_000);
  assert.equal((await ask('new-nonce')).status, 204);
});

test('a used quota refuses orders and CSRs until the next place is free', async () => {
  await using world = await createAcmeWorld();
  const eab = await world.eabKey({ quotaCertificates: 1, quotaSeconds: 7_200 });
  const alice = await world.account({ eab });
  const waiting = await alice.order();
  await alice.certificate();
  const request = csr(www);
  const [ordered, finalized] = [
    await alice.post(world.url('new-order'), order()),
    await alice.post(`${waiting}/finalize`, request),
  ];
  for (const { status, json, headers } of [ordered, finalized])
    assert.deepEqual(
      [status, json['code'], headers['retry-after']],
      [429, 'EAB_QUOTA_USED', '7200'],
    );
  world.services.clock.advance(7_200_000);
  assert.equal((await alice.post(`${waiting}/finalize`, request)).json['status'], 'valid');
});

test('a name whose validation fails again and again is paused for its account, which is told why', async () => {
  await using world = await createAcmeWorld({ failuresPerName: { count: 1, seconds: 300 } });
  const eab = await world.eabKey({ proof: 'challenge' });
  const [alice, other] = [await world.account({ eab }), await world.account({ eab })];
  const orderUrl = await alice.order();
  await alice.post(`${orderUrl.replace('/order/', '/chall/')}/0/http-01`, {});
  await until(async () => (await world.orderOf(orderUrl))?.authorizations[0]?.status === 'invalid');
  const paused = await alice.post(world.url('new-order'), order());
  assert.deepEqual([paused.status, paused.headers['retry-after']], [503, '300']);
  assert.match(String(paused.json['detail']), /failuresPerName.*www\.shop\.test.*"error"/);
  await other.order();
  world.services.clock.advance(300_000);
  await alice.order();
});

test('of changes of one account at once each is made, and only the first one of its key', async () => {
  await using world = await createAcmeWorld();
  const alice = await world.account();
  const contacts = ['a', 'b', 'c'].map((name) => `mailto:${name}@example.org`);
  const changes = await Promise.all(
    contacts.map((contact) => alice.post(alice.kid, { contact: [contact] })),
  );
  assert.deepEqual(
    changes.map(({ status }) => status),
    [200, 200, 200],
  );
  const url = world.url('key-change');
  const [one, other] = [acmeKey(), acmeKey()];
  const inner = { account: alice.kid, oldKey: alice.key.jwk };
  const answers = await Promise.all(
    [one, other].map((key) =>
      alice.post(url, jws({ alg: key.alg, jwk: key.jwk, url }, inner, key)),
    ),
  );
  // the slower one meets the changed key at its signature, or at its transaction
  assert.deepEqual(answers.map(({ status }) => status < 500).sort(), [true, true]);
  assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  assert.equal((await alice.post(alice.kid, undefined)).problem, 'malformed', 'the old key');
});

test('over one database two servers issue an order once, and a request has one effect', async () => {
  await using world = await createAcmeWorld();
  await using other = await world.another();
  const { wire, services } = world;
  const alice = await world.account();
  const newOrder = world.url('new-order');
  const asked = await alice.signed(newOrder, order());
  const made = await Promise.all([
    wire.send(newOrder, asked),
    wire.send(other.at(newOrder), asked),
  ]);
  assert.deepEqual(made.map(({ status }) => status).sort(), [201, 400]);
  assert.ok(made.some(({ problem }) => problem === 'badNonce'));
  for (const isSame of [true, false]) {
    const finalize = `${await alice.order()}/finalize`;
    const [first, second] = [csr(www), csr(www)];
    const both = Promise.all([
      alice.post(finalize, first),
      wire.send(other.at(finalize), await alice.signed(finalize, isSame ? first : second)),
    ]);
    let answers: Awaited<typeof both> | undefined;
    void both.then((all) => (answers = all));
    await until(() => {
      // the other server waits for the lease
      services.clock.advance(500);
      return answers !== undefined;
    });
    const valid = answers?.filter(({ json }) => json['status'] === 'valid');
    assert.equal(valid?.length, isSame ? 2 : 1);
  }
  assert.equal((await services.audit('certificate.issued')).length, 2);
});

test('metrics count requests by result and orders by end, without the name of anybody', async () => {
  await using world = await createAcmeWorld();
  const alice = await world.account();
  await alice.certificate();
  const refused = await alice.post(world.url('new-order'), order('www.other.test'));
  assert.equal(refused.problem, 'rejectedIdentifier');
  const text = await world.metrics.registry.metrics();
  const lines = text.split('\n').filter((line) => line.startsWith('meshca_acme_'));
  for (const line of [
    'meshca_acme_requests_total{resource="new-account",result="ok"} 1',
    'meshca_acme_requests_total{resource="new-order",result="ok"} 1',
    'meshca_acme_requests_total{resource="new-order",result="rejectedIdentifier"} 1',
    'meshca_acme_orders_ended_total{end="issued"} 1',
  ])
    assert.ok(lines.includes(line), `${line}\n${lines.join('\n')}`);
  assert.doesNotMatch(lines.join('\n'), /shop|other|01[0-9a-f]{6}-/);
});
