import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import {
  account,
  acmeWorld,
  authorization,
  eabKey,
  next,
  nonce,
  order,
  tenant,
  write,
} from '../../compliance/store/acme-fixtures.ts';
import { code, event, ManualClock, start } from '../../compliance/store/fixtures.ts';
import { openStore } from '../../support/open-store.ts';

async function world() {
  const clock = new ManualClock();
  const store = await openStore({ path: ':memory:', clock, logger: silentLogger, pid: 1 });
  return { store, ...(await acmeWorld(store)), [Symbol.asyncDispose]: () => store.close() };
}
const created = write('acme.order.created');
const changed = write('acme.order.changed');

test('a name of another tenant is refused, and free once that one is deleted', async () => {
  await using w = await world();
  const { tenants } = w.store;
  const other = tenant({ name: 'other', dnsSuffixes: ['a.shop.example.org'], spiffePrefixes: [] });
  await assert.rejects(tenants.create(other, event('tenant.created')), code('TENANT_OVERLAPS'));
  await tenants.update({ ...w.tenant, state: 'ended', version: 2 }, event('tenant.ended'));
  const gone = { state: 'deleted', dnsSuffixes: [], spiffePrefixes: [], version: 3 } as const;
  await tenants.update({ ...w.tenant, ...gone }, event('tenant.deleted'));
  await tenants.create(other, event('tenant.created'));
});

test('nothing is written for a tenant that ended, until it is active again', async () => {
  await using w = await world();
  const { tenants, acme } = w.store;
  const make = () => acme.orders.create(order(), { ...created, rights: [w.rights.tenant] });
  await tenants.update({ ...w.tenant, state: 'ended', version: 2 }, event('tenant.ended'));
  await assert.rejects(make(), code('TENANT_ENDED'));
  await tenants.update({ ...w.tenant, version: 3 }, event('tenant.changed'));
  await make();
});

test('a used nonce is refused, and a fresh one is taken', async () => {
  await using w = await world();
  const used = nonce();
  await w.store.acme.useNonce(used);
  const make = (mark: typeof used) =>
    w.store.acme.orders.create(order(), { ...created, nonce: mark });
  await assert.rejects(make(used), code('ACME_NONCE_USED'));
  await make(nonce());
});

test('an account needs a key for external account binding that is still good', async () => {
  await using w = await world();
  const { eabKeys, accounts } = w.store.acme;
  await eabKeys.update({ ...w.key, revokedAt: start, version: 2 }, write('eab-key.revoked'));
  const make = (id: string) =>
    accounts.create(
      account({ eabKeyId: id }),
      write('acme.account.created', [{ kind: 'eab-key', id }]),
    );
  await assert.rejects(make(w.key.id), code('EAB_KEY_ENDED'));
  const another = eabKey();
  await eabKeys.create(another, write('eab-key.created'));
  await make(another.id);
});

test('an account that ended orders nothing, and another one does', async () => {
  await using w = await world();
  const { accounts, orders } = w.store.acme;
  const ended = { ...w.account, status: 'deactivated', version: 2 } as const;
  await accounts.update(ended, write('acme.account.ended'));
  const make = (id: string) =>
    orders.create(order({ accountId: id }), { ...created, rights: [{ kind: 'acme-account', id }] });
  await assert.rejects(make(w.account.id), code('ACME_ACCOUNT_ENDED'));
  const another = account({ eabKeyId: w.key.id });
  await accounts.create(another, write('acme.account.created'));
  await make(another.id);
});

test('an order with an authorization that ended is not finalized, and a new one is', async () => {
  await using w = await world();
  const { orders } = w.store.acme;
  const finalize = async (status: 'valid' | 'deactivated') => {
    const ready = order({ authorizations: [authorization({ status })] });
    await orders.create(ready, created);
    await orders.update(next(ready, { stage: 'finalizing', csrDer: Buffer.from('csr') }), changed);
  };
  await assert.rejects(finalize('deactivated'), code('ACME_ORDER_ENDED'));
  await finalize('valid');
});
