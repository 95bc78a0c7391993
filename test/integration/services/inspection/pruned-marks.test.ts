import assert from 'node:assert/strict';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, systemClock, type Clock } from '../../../../src/common/runtime/index.ts';
import { Pruner } from '../../../../src/services/index.ts';
import { nonce, order, tenant, write } from '../../../compliance/store/acme-fixtures.ts';
import { digest, event } from '../../../compliance/store/fixtures.ts';
import { exchanged } from '../../../compliance/store/suite-exchanged-keys.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import { openStore } from '../../../support/open-store.ts';

test('marks of tokens are forgotten past any number of rows that somebody else wrote', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'meshca-marks-'));
  const path = join(folder.path, 'meshca.db');
  const clock: Clock = { ...systemClock, sleep: async () => {} };
  const store = await openStore({ path, pid: process.pid, clock, logger: silentLogger });
  try {
    const mark = (expiresAt: number) => ({
      id: digest(),
      ...{ issuer: 'ci', subject: 'job', grantee: 'deploy', publicKeySha256: digest() },
      ...{ usedAt: clock.now() - 900, expiresAt },
    });
    const [ended, living] = [mark(clock.now() - 100), mark(clock.now() + 100)];
    for (const each of [ended, living])
      await store.tokenUses.bind(each, event('identity-token.bound'));
    foreignSql(path, (database) => {
      database.exec(`
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 450)
        INSERT INTO token_uses SELECT randomblob(32), 'ci', 'x', 'x', x'00', 1, i / 200, NULL, NULL FROM n`);
    });
    const pruner = new Pruner({
      ...{
        store,
        clock,
        keepSeconds: 0,
        keepOrdersSeconds: 0,
        holder: 'test',
        logger: silentLogger,
      },
      clockBelieved: () => true,
    });
    assert.equal((await pruner.round()).tokenUses, 1);
    assert.equal(await store.tokenUses.byId(ended.id), undefined);
    assert.equal((await store.tokenUses.byId(living.id))?.expiresAt, living.expiresAt);
  } finally {
    await store.close();
  }
});

test('orders, nonces and exchanged keys are forgotten, also where certificates stay for ever', async () => {
  const clock: Clock = { ...systemClock, sleep: async () => {} };
  const store = await openStore({ path: ':memory:', pid: 1, clock, logger: silentLogger });
  try {
    const now = clock.now();
    const ended = Array.from({ length: 201 }, () => order({ expiresAt: now - 100 }));
    const recent = order({ expiresAt: now - 10 });
    for (const each of [...ended, recent])
      await store.acme.orders.create(each, write('acme.order.created'));
    await store.tenants.create(tenant(), event('tenant.created'));
    await exchanged(store, now - 100);
    const recentKey = await exchanged(store, now - 10);
    const living = nonce({ expiresAt: now + 100 });
    for (const mark of [living, nonce({ expiresAt: now - 1 })]) await store.acme.useNonce(mark);
    const pruner = new Pruner({
      ...{ store, clock, keepSeconds: undefined, keepOrdersSeconds: 50, holder: 'test' },
      ...{ logger: silentLogger, clockBelieved: () => true },
    });
    const { acmeOrders, exchangedKeys, acmeNonces } = await pruner.round();
    assert.deepEqual([acmeOrders, exchangedKeys, acmeNonces], [201, 1, 1]);
    const keys = await store.acme.eabKeys.list({ includeEnded: true, now }, { size: 5 });
    assert.deepEqual(keys.items, [recentKey]);
    assert.equal(store.objects.expectedCount('acme-order'), 1);
    assert.deepEqual((await store.acme.orders.list({}, { size: 5 })).items, [recent]);
    await assert.rejects(store.acme.useNonce(living), { code: 'ACME_NONCE_USED' });
  } finally {
    await store.close();
  }
});
