import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EabKey } from '../../../src/domain/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import type { EabKeyPlace } from '../../../src/store/ports/index.ts';
import { account, eabKey, order, tenant, write } from './acme-fixtures.ts';
import { code, event, start, type OpenStore } from './fixtures.ts';

/** A key of a pipeline, with its account if it made one. */
export async function exchanged(
  store: Ledger,
  expiresAt: number,
  hasAccount = true,
): Promise<EabKey> {
  const { eabKeys, accounts } = store.acme;
  const key = eabKey({
    ...{ accounts: 'single', expiresAt },
    source: {
      ...{ by: 'svid', spiffeId: 'spiffe://example.org/shop/ci', delegationId: 'd1' },
      ...{ serial: '0a', agent: null },
    },
  });
  await eabKeys.create(key, write('eab-key.created'));
  if (!hasAccount) return key;
  const of = account({ eabKeyId: key.id });
  await accounts.create(of, write('acme.account.created'));
  return { ...key, accountId: of.id, version: 2 };
}

export const forgotten = {
  key: ({ id }: { readonly id: string }) => event('eab-key.forgotten', id),
  account: ({ id }: { readonly id: string }) => event('acme.account.forgotten', id),
};

/** Keys that were exchanged for proofs of pipelines. */
export function exchangedKeyCases(name: string, open: OpenStore): void {
  test(`${name}: exchanged keys are forgotten with their accounts, once these have no orders`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { acme, leases } = store;
    await store.tenants.create(tenant(), event('tenant.created'));
    const lease = await leases.acquire('pruning', 'me', start * 1000, 86_400_000);
    assert.ok(lease !== undefined);
    const given = eabKey({ expiresAt: start + 1 });
    await acme.eabKeys.create(given, write('eab-key.created'));
    const unused = await exchanged(store, start + 10, false);
    const done = await exchanged(store, start + 20);
    const ordering = await exchanged(store, start + 30);
    const living = await exchanged(store, start + 40);
    const [accountId] = [ordering.accountId ?? ''];
    await acme.orders.create(
      order({ accountId, eabKeyId: ordering.id }),
      write('acme.order.created'),
    );
    const prune = (expiredBefore: number, limit: number, after?: EabKeyPlace) =>
      acme.pruneExchanged({ expiredBefore, after }, limit, lease, forgotten);

    const first = await prune(start + 40, 1);
    assert.deepEqual(first, { removed: 1, next: { expiresAt: start + 10, id: unused.id } });
    assert.deepEqual(await prune(start + 40, 5, first.next), { removed: 1, next: undefined });
    const { items } = await acme.eabKeys.list({ includeEnded: true, now: start }, { size: 10 });
    assert.deepEqual(items, [given, ordering, living]);
    const accounts = await acme.accounts.list({}, { size: 10 });
    assert.deepEqual(
      accounts.items.map(({ id }) => id),
      [ordering.accountId, living.accountId],
    );
    assert.equal(await acme.accounts.byId(done.accountId ?? ''), undefined);
    for (const [kind, count] of [
      ['eab-key.forgotten', 2],
      ['acme.account.forgotten', 1],
    ] as const)
      assert.equal((await store.audit.list({ kind }, { size: 10 })).items.length, count, kind);
    await leases.release(lease);
    assert.ok(await leases.acquire('pruning', 'other', start * 1000, 86_400_000));
    await assert.rejects(prune(start, 2), code('LEASE_LOST'));
  });
}
