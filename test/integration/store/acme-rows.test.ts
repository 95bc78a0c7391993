import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import {
  exchanged,
  forgotten as forgottenKeys,
} from '../../compliance/store/suite-exchanged-keys.ts';
import { acmeWorld, next, order, tenant, write } from '../../compliance/store/acme-fixtures.ts';
import { code, event, ManualClock, start } from '../../compliance/store/fixtures.ts';
import { foreignSql } from '../../support/foreign-sql.ts';
import { until } from '../../support/until.ts';
import { openStore } from '../../support/open-store.ts';

const notInLog = code('OBJECT_NOT_IN_LOG');

/** A database with one of each, what was announced, and somebody who alters it. */
async function world() {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-acme-rows-'));
  const path = join(dir, 'meshca.db');
  const open = () => openStore({ path, clock: new ManualClock(), logger: silentLogger, pid: 1 });
  const store = await open();
  const announced = new Set<string>();
  store.objects.onMismatch(({ kind, id }) => void announced.add(`${kind} ${id}`));
  return {
    ...(await acmeWorld(store)),
    store,
    announced,
    alter: (statement: string) => foreignSql(path, (database) => database.exec(statement)),
    [Symbol.asyncDispose]: async () => {
      await store.close();
      await rm(dir, { recursive: true });
    },
  };
}

type World = Awaited<ReturnType<typeof world>>;
type Read = (store: Ledger, world: World) => Promise<unknown>;

/** Every decision that rests on the altered row. */
const alterations: readonly (readonly [string, keyof World['rights'], readonly Read[]])[] = [
  [
    `UPDATE tenants SET dns_suffixes = '["example.org"]'`,
    'tenant',
    [
      (store) => store.tenants.byName('shop'),
      (store, w) => store.tenants.update({ ...w.tenant, version: 2 }, event('tenant.changed')),
    ],
  ],
  [
    `UPDATE eab_keys SET dns_patterns = '["**"]'`,
    'key',
    [
      (store, w) => store.acme.eabKeys.byId(w.key.id),
      (store, w) => store.acme.eabKeys.update({ ...w.key, version: 2 }, write('eab-key.revoked')),
    ],
  ],
  [
    `UPDATE eab_keys SET source = '{"by":"svid"}'`,
    'key',
    [
      (store, w) => store.acme.eabKeys.byId(w.key.id),
      (store, w) => store.acme.eabKeys.update({ ...w.key, version: 2 }, write('eab-key.revoked')),
    ],
  ],
  [
    `UPDATE acme_accounts SET jwk = '{"kty":"oct"}'`,
    'account',
    [
      (store, w) => store.acme.accounts.byId(w.account.id),
      (store, w) => store.acme.accounts.byThumbprint(w.account.thumbprint),
      (store, w) =>
        store.acme.accounts.update({ ...w.account, version: 2 }, write('acme.account.changed')),
    ],
  ],
  [
    `UPDATE acme_orders SET csr_der = x'00'`,
    'order',
    [
      (store, w) => store.acme.orders.byId(w.order.id),
      (store, w) => store.acme.orders.update(next(w.order, {}), write('acme.order.changed')),
    ],
  ],
];

test('a row of ACME that was altered past the log is refused wherever it is asked for', async (t) => {
  for (const [statement, right, reads] of alterations)
    await t.test(statement, async () => {
      await using w = await world();
      w.alter(statement);
      for (const read of reads) await assert.rejects(read(w.store, w), notInLog);
      const created = write('acme.order.created', [w.rights[right]]);
      await assert.rejects(w.store.acme.orders.create(order(), created), notInLog);
      assert.equal(w.announced.size, 1, [...w.announced].join());
    });
});

test('lists leave out rows of ACME that were altered past the log, and announce them', async () => {
  await using w = await world();
  const { acme } = w.store;
  w.alter(`UPDATE eab_keys SET revoked_at = NULL, expires_at = 0;
    UPDATE acme_accounts SET status = 'revoked';
    UPDATE acme_orders SET authorizations = '[]', validating = 1`);
  const page = { size: 5 };
  const lists = await Promise.all([
    acme.eabKeys.list({ includeEnded: true, now: start }, page).then(({ items }) => items),
    acme.accounts.list({}, page).then(({ items }) => items),
    acme.orders.list({}, page).then(({ items }) => items),
    acme.orders.finalizing(page).then(({ items }) => items),
    acme.orders.validating(page).then(({ items }) => items),
  ]);
  assert.deepEqual(lists, [[], [], [], [], []]);
  assert.deepEqual([...w.announced].map((text) => text.split(' ')[0]).toSorted(), [
    'acme-account',
    'acme-order',
    'eab-key',
  ]);
});

test('a row of ACME that was taken away past the log is announced, and cannot be made anew', async () => {
  await using w = await world();
  const { acme } = w.store;
  w.alter('DELETE FROM eab_keys; DELETE FROM acme_accounts; DELETE FROM acme_orders');
  assert.equal(await acme.eabKeys.byId(w.key.id), undefined);
  assert.equal(await acme.accounts.byId(w.account.id), undefined);
  assert.equal(await acme.orders.byId(w.order.id), undefined);
  assert.equal(w.announced.size, 3);
  await assert.rejects(acme.eabKeys.create(w.key, write('eab-key.created')), notInLog);
  const again = { ...w.order, stage: 'open' } as const;
  await assert.rejects(acme.orders.create(again, write('acme.order.created')), notInLog);
});

test('a row that is not found by what it had is announced, gone or altered', async (t) => {
  const serial = '0a'.repeat(16);
  const lookUps: readonly (readonly [string, 'account' | 'order', Read])[] = [
    [
      'DELETE FROM acme_accounts',
      'account',
      (store, w) => store.acme.accounts.byThumbprint(w.account.thumbprint),
    ],
    [
      `UPDATE acme_accounts SET thumbprint = 'other'`,
      'account',
      (store, w) => store.acme.accounts.byThumbprint(w.account.thumbprint),
    ],
    ['DELETE FROM acme_orders', 'order', (store) => store.acme.orders.bySerial(serial)],
    [
      `UPDATE acme_orders SET serial = x'00'`,
      'order',
      (store) => store.acme.orders.bySerial(serial),
    ],
    ['DELETE FROM acme_orders', 'order', (store) => store.acme.orders.replacing(serial)],
    ['DELETE FROM acme_orders', 'order', (store) => store.acme.orders.wasReplaced(serial)],
  ];
  for (const [statement, kind, lookUp] of lookUps)
    await t.test(statement, async () => {
      await using w = await world();
      w.alter(statement);
      assert.ok(!(await lookUp(w.store, w)));
      const { id } = kind === 'account' ? w.account : w.order;
      await until(() => w.announced.size > 0);
      assert.deepEqual([...w.announced], [`acme-${kind} ${id}`]);
    });
});

test('while a tenant is missing or altered past the log, no name is given to another one', async (t) => {
  for (const statement of ['DELETE FROM tenants', `UPDATE tenants SET dns_suffixes = '[]'`])
    for (const isKnown of [false, true])
      await t.test(`${statement}${isKnown ? ', while the names are known' : ''}`, async () => {
        await using w = await world();
        const { tenants } = w.store;
        if (isKnown) await tenants.owners();
        w.alter(statement);
        const thief = tenants.create(tenant({ name: 'thief' }), event('tenant.created'));
        await assert.rejects(thief, isKnown ? code('TENANT_OVERLAPS') : notInLog);
        if (!isKnown) await assert.rejects(tenants.owners(), notInLog);
      });
});

test('an ended object that somebody puts back stays ended', async () => {
  await using w = await world();
  const { acme } = w.store;
  await acme.eabKeys.update({ ...w.key, revokedAt: start, version: 2 }, write('eab-key.revoked'));
  w.alter('UPDATE eab_keys SET revoked_at = NULL, version = 1');
  await assert.rejects(acme.eabKeys.byId(w.key.id), notInLog);
  await assert.rejects(
    acme.orders.create(order(), write('acme.order.created', [w.rights.key])),
    notInLog,
  );
});

test('the end of an order by which it is found can be altered, and forgets nothing early', async () => {
  await using w = await world();
  const { acme, leases } = w.store;
  const lease = await leases.acquire('pruning', 'me', start * 1000, 86_400_000);
  assert.ok(lease !== undefined);
  const lasting = order();
  await acme.orders.create(lasting, write('acme.order.created'));
  w.alter('UPDATE acme_orders SET ends_at = 0');
  const which = { endedBefore: start };
  const forgotten = ({ id }: { readonly id: string }) => event('acme.order.forgotten', id);
  const { removed } = await acme.orders.prune(which, 10, lease, forgotten);
  assert.equal(removed, 0);
  assert.deepEqual(await acme.orders.byId(lasting.id), lasting);
});

test('an exchanged key whose row or account was altered stays', async () => {
  await using w = await world();
  const { acme, leases } = w.store;
  const lease = await leases.acquire('pruning', 'me', start * 1000, 86_400_000);
  assert.ok(lease !== undefined);
  const living = await exchanged(w.store, start + 100);
  const ended = await exchanged(w.store, start - 100);
  w.alter(`
    UPDATE eab_keys SET expires_at = 1 WHERE id = '${living.id}';
    UPDATE eab_keys SET expires_at = 1, source = '{"by":"svid"}' WHERE id = '${w.key.id}';
    UPDATE acme_accounts SET contacts = '[]' WHERE eab_key_id = '${ended.id}'`);
  const prune = async () =>
    (await acme.pruneExchanged({ expiredBefore: start }, 10, lease, forgottenKeys)).removed;
  assert.equal(await prune(), 0);
  w.alter(`DELETE FROM acme_accounts WHERE eab_key_id = '${ended.id}'`);
  assert.equal(await prune(), 0, 'the log has bound an account to it');
});
