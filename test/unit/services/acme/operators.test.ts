import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { keyTypes } from '../../../../src/common/x509/index.ts';
import { readCanonical, type EabKeyInput } from '../../../../src/domain/index.ts';
import type { AdminCaller, OperatorCaller } from '../../../../src/services/index.ts';
import { account, order, write } from '../../../compliance/store/acme-fixtures.ts';
import {
  createServicesWorld,
  id,
  local,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const input = (more: Partial<EabKeyInput> = {}): EabKeyInput => ({
  tenant: 'shop',
  description: 'the gateway',
  dnsPatterns: ['*.shop.test'],
  ipRanges: [],
  wildcards: false,
  profiles: ['short'],
  ttlSeconds: 0,
  keyTypes: [],
  proof: '',
  challengeTypes: [],
  accounts: '',
  quotaCertificates: 0,
  quotaSeconds: 0,
  expiresAt: 0,
  ...more,
});
const page = { size: 10 };
const any = { tenant: '', eabKeyId: '', accountId: '', name: '', status: '' } as const;

const codeOf = async (act: Promise<unknown>): Promise<string> => {
  try {
    await act;
    return 'ok';
  } catch (thrown) {
    return thrown instanceof PkiError ? thrown.code : String(thrown);
  }
};

async function world() {
  const w = await createServicesWorld();
  for (const name of ['shop', 'other'])
    await w.services.tenants.create(
      local,
      {
        ...{
          name,
          description: '',
          dnsSuffixes: [`${name}.test`],
          spiffePrefixes: [id(`/${name}/`)],
        },
        ...{ quotaCertificates: 0, quotaSeconds: 0 },
      },
      { dryRun: false },
    );
  return w;
}

async function adminOf(
  w: ServicesWorld,
  name: string,
  verbs: readonly string[],
  prefixes: readonly string[],
): Promise<AdminCaller> {
  const caller = (await w.mint(`/ops/${name}`, true)) as AdminCaller;
  await w.services.roles.put(local, { name, verbs, prefixes, members: [caller.spiffeId] });
  return caller;
}

/** An account with a key of its own, and with an order for each name. */
async function holder(w: ServicesWorld, tenant: string, ...names: string[]) {
  const { key } = await w.services.eabKeys.create(
    local,
    input({ tenant, dnsPatterns: [`*.${tenant}.test`] }),
  );
  const eabKeyId = key.id;
  const of = account({ eabKeyId, tenant });
  await w.store.acme.accounts.create(of, write('acme.account.created'));
  const orders = names.map((value) => {
    const made = order({ accountId: of.id, eabKeyId, tenant });
    const authorizations = made.authorizations.map((each) => ({
      ...each,
      identifier: { type: 'dns' as const, value },
      expiresAt: w.clock.now() + 3600,
    }));
    return { ...made, authorizations, expiresAt: w.clock.now() + 3600 };
  });
  for (const each of orders) await w.store.acme.orders.create(each, write('acme.order.created'));
  return { key, account: of, orders };
}

test('an EAB key has one MAC key, which is shown again to who may create it, and on record', async () => {
  await using w = await world();
  const { eabKeys } = w.services;
  const made = await eabKeys.create(local, input());
  assert.equal(made.macKey.length, 32);
  const { id: keyId, ...key } = made.key;
  assert.deepEqual(key, {
    ...input(),
    ...{ keyTypes, proof: 'challenge', accounts: 'many', accountId: null, revokedAt: null },
    ...{ version: 1, createdAt: w.clock.now(), createdBy: key.createdBy, source: null },
  });
  assert.deepEqual((await eabKeys.secret(local, keyId)).macKey, made.macKey);
  assert.notDeepEqual((await eabKeys.create(local, input())).macKey, made.macKey);
  assert.deepEqual(await eabKeys.get(local, keyId), made.key);
  const { items } = await w.store.audit.list({ subject: keyId }, page);
  assert.deepEqual(
    items.map(({ kind }) => kind),
    ['eab-key.created', 'eab-key.shown'],
  );
  assert.deepEqual(readCanonical(items[0]?.canonical as Buffer)?.detail['dnsPatterns'], [
    '*.shop.test',
  ]);
  const hidden = [made.macKey.toString('hex'), made.macKey.toString('base64url')];
  for (const { canonical } of items)
    assert.ok(!hidden.some((text) => canonical.includes(text)), 'no record has the MAC key');
});

test('a revoked or expired key shows its MAC key no more, is kept, and is revoked once', async () => {
  await using w = await world();
  const { eabKeys } = w.services;
  const { key } = await eabKeys.create(local, input());
  const revoked = await eabKeys.revoke(local, key.id, 'leaked');
  assert.equal(revoked.revokedAt, w.clock.now());
  assert.deepEqual(await eabKeys.revoke(local, key.id, 'again'), revoked);
  assert.equal(await codeOf(eabKeys.secret(local, key.id)), 'EAB_KEY_ENDED');
  const ending = await eabKeys.create(local, input({ expiresAt: w.clock.now() + 10 }));
  w.clock.advance(10_000);
  assert.equal(await codeOf(eabKeys.secret(local, ending.key.id)), 'EAB_KEY_ENDED');
  const lists = async (includeEnded: boolean) =>
    (await eabKeys.list(local, { tenant: 'shop', includeEnded }, page)).items.map(
      (each) => each.id,
    );
  assert.deepEqual(await lists(false), []);
  assert.deepEqual(new Set(await lists(true)), new Set([key.id, ending.key.id]));
});

test('roles over the tenant, or over every pattern, create EAB keys, and no others', async () => {
  await using w = await world();
  const { eabKeys } = w.services;
  const of = (name: string, verbs: readonly string[], ...prefixes: string[]) =>
    adminOf(w, name, verbs, prefixes);
  const owner = await of('owner', ['acme.*'], 'tenant:shop');
  const other = await of('other', ['acme.*'], 'tenant:other');
  const names = await of('names', ['acme.*'], 'dns:.api.shop.test');
  const reader = await of('reader', ['acme.read'], 'tenant:shop');
  const everything = await of('everything', ['*'], id('/'));
  const create = (caller: OperatorCaller, more?: Partial<EabKeyInput>) =>
    codeOf(eabKeys.create(caller, input(more)));
  assert.equal(await create(owner), 'ok');
  assert.equal(await create(other), 'NOT_FOUND', 'it does not learn that the tenant exists');
  assert.equal(await create(reader), 'ROLE_MISSING');
  assert.equal(await create(names), 'NOT_FOUND');
  assert.equal(await create(names, { dnsPatterns: ['*.api.shop.test'] }), 'ok');
  assert.equal(
    await create(names, { dnsPatterns: ['*.api.shop.test', 'www.shop.test'] }),
    'NOT_FOUND',
  );
  assert.equal(await create(owner, { dnsPatterns: ['*.other.test'] }), 'PATTERN_INVALID');
  assert.equal(await create(owner, { tenant: 'none' }), 'NOT_FOUND');
  assert.equal(await create(owner, { profiles: ['classic'] }), 'INVALID_REQUEST', 'not revocable');
  const ranged = { ipRanges: ['192.0.2.0/24'] };
  assert.equal(await create(owner, ranged), 'ROLE_MISSING');
  assert.equal(await create(everything, ranged), 'ok');

  const [mine] = (await eabKeys.list(owner, { tenant: '', includeEnded: false }, page)).items;
  assert.ok(mine !== undefined);
  assert.equal(await codeOf(eabKeys.get(reader, mine.id)), 'ok');
  for (const refused of [eabKeys.secret(reader, mine.id), eabKeys.revoke(reader, mine.id, '')])
    assert.equal(await codeOf(refused), 'ROLE_MISSING');
  for (const hidden of [eabKeys.get(other, mine.id), eabKeys.revoke(other, mine.id, '')])
    assert.equal(await codeOf(hidden), 'NOT_FOUND', 'it does not learn of keys of others');
  assert.equal(
    (await eabKeys.list(other, { tenant: '', includeEnded: true }, page)).items.length,
    0,
  );
  assert.equal(
    (await eabKeys.list(names, { tenant: '', includeEnded: true }, page)).items.length,
    1,
  );
});

test('nothing is created while the token is away, or for a tenant that has ended', async () => {
  await using w = await world();
  const { eabKeys, tenants } = w.services;
  w.loseToken();
  assert.equal(await codeOf(eabKeys.create(local, input())), 'HSM_UNAVAILABLE');
  assert.equal(
    (await eabKeys.list(local, { tenant: '', includeEnded: true }, page)).items.length,
    0,
  );
  await tenants.end(local, 'shop', 'moved out');
  assert.equal(await codeOf(eabKeys.create(local, input())), 'TENANT_ENDED');
});

test('an account is ended by a role over its tenant, and stays ended', async () => {
  await using w = await world();
  const { acmeAccounts } = w.services;
  const { key, account: of } = await holder(w, 'shop');
  await holder(w, 'other');
  const owner = await adminOf(w, 'owner', ['acme.*'], ['tenant:shop']);
  const reader = await adminOf(w, 'reader', ['acme.read'], ['tenant:shop']);
  const other = await adminOf(w, 'other', ['acme.*'], ['tenant:other']);
  const list = async (caller: OperatorCaller, more: object = {}) =>
    (await acmeAccounts.list(caller, { ...any, ...more }, page)).items.map(({ id: each }) => each);
  assert.equal((await list(local)).length, 2);
  assert.deepEqual(await list(owner), [of.id]);
  assert.deepEqual(await list(local, { eabKeyId: key.id }), [of.id]);
  assert.deepEqual(await list(owner, { status: 'revoked' }), []);
  assert.equal(await codeOf(acmeAccounts.end(reader, of.id, '')), 'ROLE_MISSING');
  assert.equal(await codeOf(acmeAccounts.end(other, of.id, '')), 'NOT_FOUND');
  const ended = await acmeAccounts.end(owner, of.id, 'a former gateway');
  assert.equal(ended.status, 'revoked');
  assert.deepEqual(await acmeAccounts.end(owner, of.id, ''), ended);
  assert.deepEqual(await acmeAccounts.get(reader, of.id), ended);
  assert.equal(await codeOf(acmeAccounts.get(owner, 'none')), 'NOT_FOUND');
});

test('orders are found by tenant, EAB key, account, name and state, each by who may see them', async () => {
  await using w = await world();
  const { acmeOrders } = w.services;
  const shop = await holder(w, 'shop', 'www.shop.test', 'api.shop.test');
  const other = await holder(w, 'other', 'www.other.test');
  const list = async (more: object, caller: OperatorCaller = local) =>
    (await acmeOrders.list(caller, { ...any, ...more }, page)).items.length;
  assert.equal(await list({}), 3);
  assert.equal(await list({ tenant: 'shop' }), 2);
  assert.equal(await list({ eabKeyId: other.key.id }), 1);
  assert.equal(await list({ accountId: other.account.id }), 1);
  assert.equal(await list({ name: 'WWW.shop.test' }), 1);
  assert.equal(await list({ name: 'shop.test' }), 0);
  assert.equal(await list({ status: 'pending' }), 3);
  assert.equal(await list({ status: 'valid' }), 0);
  const names = await adminOf(w, 'names', ['acme.read'], ['dns:api.shop.test']);
  assert.equal(await list({}, names), 1);
  const [www, api] = shop.orders;
  assert.equal(await codeOf(acmeOrders.get(names, api?.id ?? '')), 'ok');
  assert.equal(await codeOf(acmeOrders.get(names, www?.id ?? '')), 'NOT_FOUND');
  w.clock.advance(3_601_000);
  assert.equal(await list({ status: 'invalid' }), 3, 'their time is over');
});
