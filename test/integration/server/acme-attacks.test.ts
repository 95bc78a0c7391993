import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { accountAttacks } from '../../support/acme/account-attacks.ts';
import { alterEach, stageOf } from '../../support/acme/altered-rows.ts';
import { readCanonical, type Tenant } from '../../../src/domain/index.ts';
import { csr, order, www, type Attack, type Scene } from '../../support/acme/attack.ts';
import { objectAttacks } from '../../support/acme/object-attacks.ts';
import { requestAttacks } from '../../support/acme/request-attacks.ts';
import { acmeKey, base64url, jws } from '../../support/acme/wire.ts';
import { createAcmeWorld } from '../../support/acme/world.ts';
import { until } from '../../support/until.ts';

/** Each attack meets its own pair of accounts, so that none hides another. */
async function refused(attacks: readonly Attack[]): Promise<void> {
  const wrong: string[] = [];
  for (const [name, status, problem, prepare] of attacks) {
    await using world = await createAcmeWorld();
    const scene = { world, alice: await world.account(), mallory: await world.account() };
    const attack = await prepare(scene);
    const before = await world.state();
    const reply = await attack();
    const met = `${reply.status} ${reply.problem}`;
    if (met !== `${status} ${problem}`)
      wrong.push(`${name}: ${met}, not ${status} ${problem}: ${reply.text}`);
    if (!isDeepStrictEqual(await world.state(), before)) wrong.push(`${name}: it had an effect`);
    if (reply.headers['replay-nonce'] === undefined) wrong.push(`${name}: no nonce`);
  }
  assert.deepEqual(wrong, []);
}

test('requests that are no proper JWS, or not signed by whom they name, are refused', () =>
  refused(requestAttacks));

test('what belongs to another account, or differs from its order, is refused', () =>
  refused(objectAttacks));

test('bindings, changes of keys and rights that have ended are refused', () =>
  refused(accountAttacks));

test('a row that was altered past the log refuses whatever rests on it, column by column', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-acme-altered-'));
  try {
    const path = join(dir, 'meshca.db');
    await using world = await createAcmeWorld({}, { path, keys: new Map() });
    assert.deepEqual(await alterEach(await stageOf(world), path), []);
  } finally {
    await rm(dir, { recursive: true });
  }
});

const ends: readonly (readonly [string, (at: Scene, orderUrl: string) => Promise<unknown>])[] = [
  ['the EAB key', ({ world, alice }) => world.revokeEabKey(alice.eab.id)],
  ['the tenant', ({ world }) => world.endTenant()],
  ['the key of the account', ({ world, alice }) => world.blockKey(alice.key)],
  ['the account', ({ alice }) => alice.post(alice.kid, { status: 'deactivated' })],
  [
    'the authorization',
    ({ alice }, orderUrl) =>
      alice.post(`${orderUrl.replace('/order/', '/authz/')}/0`, { status: 'deactivated' }),
  ],
];

test('a right that ends between finalizing and signing gives no certificate', async () => {
  for (const [what, end] of ends) {
    await using world = await createAcmeWorld();
    const scene = { world, alice: await world.account(), mallory: await world.account() };
    const orderUrl = await scene.alice.order();
    world.services.beforeSigning(async () => void (await end(scene, orderUrl)));
    const finalized = scene.alice.post(`${orderUrl}/finalize`, csr(www));
    await until(async () => {
      // an order that was changed is tried again by its new version
      world.services.clock.advance(500);
      return (await world.orderOf(orderUrl))?.stage === 'failed';
    }, what);
    await finalized;
    const order = await world.orderOf(orderUrl);
    assert.deepEqual([order?.serial, order?.problem === null], [null, false], what);
    assert.equal((await world.services.audit('certificate.issued')).length, 0, what);
    assert.ok((await world.services.audit('certificate.withheld')).length > 0, what);
  }
});

test('refusals of strangers are in the log as one summary, those of an account one by one', async () => {
  await using world = await createAcmeWorld();
  const { services, wire } = world;
  const alice = await world.account();
  const key = acmeKey();
  for (let tries = 0; tries < 20; tries += 1)
    await wire.post(world.url('new-account'), {}, { key });
  await alice.post(world.url('new-order'), order('www.other.test'));
  const single = await services.audit('request.refused');
  assert.deepEqual(
    single.map(({ actor }) => actor),
    [`acme:${alice.kid.split('/').at(-1)}`],
  );
  services.clock.advance(60_000);
  await until(async () => (await services.audit('requests.refused')).length === 1);
  const [summary] = await services.audit('requests.refused');
  const detail = readCanonical(summary?.canonical as Buffer)?.detail;
  assert.equal(detail?.['total'], 20);
  assert.match(String(detail?.['counts']), /new-account externalAccountRequired ACME_REFUSED 20/);
});

test('a refusal says what was wrong, and who changes it is served', async () => {
  await using world = await createAcmeWorld();
  const alice = await world.account();
  const refusal = await alice.post(world.url('new-order'), order('www.other.test'));
  assert.match(String(refusal.json['detail']), /does not grant.*www\.other\.test/);
  const [logged] = await world.services.audit('request.refused');
  assert.match(String(logged?.canonical), /"code":"ACME_REFUSED"/);
  assert.equal((await alice.post(world.url('new-order'), order('www.shop.test'))).status, 201);
});

test('a key outlives no name that was taken from its tenant', async () => {
  await using world = await createAcmeWorld();
  const { services } = world;
  const alice = await world.account();
  const orderUrl = await alice.order();
  const shop = (await services.store.tenants.byName('shop')) as Tenant;
  await services.store.tenants.update(
    { ...shop, dnsSuffixes: ['new.shop.test'], version: shop.version + 1 },
    {
      ...{ timeMs: services.clock.nowMs(), actor: 'uid:0', kind: 'tenant.changed' },
      ...{ subject: 'shop', detail: {} },
    },
  );
  await services.tenantOwners.refresh();
  const ordered = await alice.post(world.url('new-order'), order('www.shop.test'));
  assert.equal(`${ordered.status} ${ordered.problem}`, '403 rejectedIdentifier');
  const finalized = await alice.post(`${orderUrl}/finalize`, csr(www));
  assert.equal(finalized.json['status'], 'invalid', finalized.text);
  assert.equal((await services.audit('certificate.issued')).length, 0);
});

test('strangers who revoke are limited by their address', async () => {
  await using world = await createAcmeWorld({ anonymousPerSecond: 3 });
  const alice = await world.account();
  const { der } = await alice.certificate();
  const certificate = base64url(der);
  const url = world.url('revoke-cert');
  const { jwk, alg, ...stranger } = acmeKey();
  const met: string[] = [];
  let nonce = await world.wire.nonce();
  // each answer has the next nonce, so that nobody asks for one
  for (let tries = 0; tries < 40; tries += 1) {
    const body = jws({ alg, nonce, url, jwk }, { certificate }, { jwk, alg, ...stranger });
    const reply = await world.wire.send(url, body);
    nonce = String(reply.headers['replay-nonce']);
    met.push(reply.problem ?? '');
  }
  assert.ok(met.includes('rateLimited'), met.join(' '));
});
