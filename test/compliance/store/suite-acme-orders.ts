import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AcmeOrder } from '../../../src/domain/index.ts';
import type { AcmeOrderPlace } from '../../../src/store/ports/index.ts';
import { acmeWorld, authorization, next, order, write } from './acme-fixtures.ts';
import {
  activeAuthority,
  code,
  event,
  everyPage,
  issued,
  newSerial,
  start,
  type OpenStore,
} from './fixtures.ts';

const created = write('acme.order.created');
const changed = write('acme.order.changed');
const valid = [authorization({ status: 'valid' })];
const processing = authorization({
  challenges: [{ type: 'http-01', status: 'processing', validatedAt: null, problem: null }],
});
const ids = (orders: readonly AcmeOrder[]): readonly string[] => orders.map(({ id }) => id);

/** Orders with their authorizations. */
export function acmeOrderCases(name: string, open: OpenStore): void {
  test(`${name}: an order goes from ready over finalizing to issued, and by its version alone`, async () => {
    await using opened = await open();
    const { orders } = opened.store.acme;
    const pending = order();
    await orders.create(pending, created);
    await assert.rejects(orders.create(pending, created), code('ALREADY_EXISTS'));
    const early = next(pending, { stage: 'finalizing', csrDer: Buffer.from('csr') });
    await assert.rejects(orders.update(early, changed), code('ACME_ORDER_ENDED'));
    const ready = next(pending, { authorizations: valid });
    await orders.update(ready, changed);
    await assert.rejects(orders.update(ready, changed), code('CONFLICT'));
    const finalizing = next(ready, { stage: 'finalizing', csrDer: Buffer.from('csr') });
    await orders.update(finalizing, changed);
    assert.deepEqual(await orders.byId(pending.id), finalizing);
    assert.deepEqual(ids((await orders.finalizing({ size: 10 })).items), [pending.id]);
    assert.deepEqual(ids((await orders.finalizing({ size: 10, after: pending.id })).items), []);
    await assert.rejects(
      orders.update(next(finalizing, { stage: 'open' }), changed),
      code('CONFLICT'),
    );
    const serial = newSerial();
    const done = next(finalizing, { stage: 'issued', serial });
    await orders.update(done, changed);
    assert.deepEqual(await orders.bySerial(serial), done);
    assert.equal(await orders.bySerial('no hex'), undefined);
    assert.deepEqual(ids((await orders.finalizing({ size: 10 })).items), []);
    await assert.rejects(
      orders.update(next(done, { stage: 'finalizing' }), changed),
      code('CONFLICT'),
    );
    await assert.rejects(orders.update(order({ version: 2 }), changed), code('NOT_FOUND'));
    const again = await opened.reopen();
    assert.deepEqual(await again.store.acme.orders.byId(pending.id), done);
  });

  test(`${name}: an order whose authorizations have expired is not finalized`, async () => {
    await using opened = await open();
    const { orders } = opened.store.acme;
    const ready = order({ authorizations: valid });
    await orders.create(ready, created);
    opened.clock.advance(3601);
    const late = next(ready, { stage: 'finalizing', csrDer: Buffer.from('csr') });
    await assert.rejects(orders.update(late, changed), code('ACME_ORDER_ENDED'));
  });

  test(`${name}: one process at a time has the lease on an order that is finalizing`, async () => {
    await using opened = await open();
    const { orders } = opened.store.acme;
    const ready = order({ authorizations: valid });
    await orders.create(ready, created);
    const lease = (holder: string, nowMs: number) => ({ holder, nowMs, expiresAtMs: nowMs + 10 });
    const acquire = (holder: string, nowMs: number) =>
      orders.acquire(ready.id, lease(holder, nowMs));
    assert.equal(await acquire('one', 0), false, 'it is not finalizing');
    assert.equal(await orders.acquire('unknown', lease('one', 0)), false);
    const finalizing = next(ready, { stage: 'finalizing', csrDer: Buffer.from('csr') });
    await orders.update(finalizing, { ...changed, lease: lease('one', 0) });
    assert.equal(await acquire('two', 9), false);
    assert.equal(await acquire('one', 9), true, 'renewed');
    assert.equal(await acquire('two', 18), false);
    assert.equal(await acquire('two', 19), true, 'it was over');
    await orders.release(ready.id, 'one');
    assert.equal(await acquire('one', 20), false, 'only its holder frees it');
    await orders.release(ready.id, 'two');
    assert.equal(await acquire('one', 20), true);
    assert.equal(await acquire('two', 10), true, 'no lease of ours ends that late');
    assert.deepEqual(await orders.byId(ready.id), finalizing, 'the log vouches for the order');
    await orders.update(next(finalizing, { stage: 'issued', serial: newSerial() }), changed);
    assert.equal(await acquire('two', 99), false);
  });

  test(`${name}: orders are found by what is to be done with them, and listed by their owner`, async () => {
    await using opened = await open();
    const { orders } = opened.store.acme;
    const [idle, first, second] = [
      order(),
      order({ accountId: 'other' }),
      order({ tenant: 'bank' }),
    ] as const;
    for (const each of [idle, first, second]) await orders.create(each, created);
    const asked = [first, second].map((each) => next(each, { authorizations: [processing] }));
    for (const each of asked) await orders.update(each, changed);
    assert.deepEqual((await orders.validating({ size: 10 })).items, asked);
    const firstPage = await orders.validating({ size: 1 });
    assert.deepEqual([ids(firstPage.items), firstPage.next], [[first.id], first.id]);
    const nextPage = await orders.validating({ size: 1, after: first.id });
    assert.deepEqual([ids(nextPage.items), nextPage.next], [[second.id], undefined]);
    const problem = { type: 'dns', detail: 'no such name' };
    await orders.update(next(asked[0] as AcmeOrder, { stage: 'failed', problem }), changed);
    assert.deepEqual(ids((await orders.validating({ size: 10 })).items), [second.id]);
    const list = async (filter: Parameters<typeof orders.list>[0]) =>
      ids(await everyPage((page) => orders.list(filter, page), 2));
    assert.deepEqual(await list({ tenant: 'shop' }), [idle.id, first.id]);
    assert.deepEqual(await list({ accountId: 'other' }), [first.id]);
    assert.deepEqual(await list({ stage: 'failed' }), [first.id]);
    assert.deepEqual((await orders.byId(first.id))?.problem, problem);
  });

  test(`${name}: a certificate is replaced by one order that has not ended`, async () => {
    await using opened = await open();
    const { orders } = opened.store.acme;
    const replaces = newSerial();
    assert.equal(await orders.replacing(replaces), undefined);
    const one = order({ replaces, expiresAt: start + 10 });
    await orders.create(one, created);
    const again = () => order({ replaces, expiresAt: start + 3600 });
    await assert.rejects(orders.create(again(), created), code('CONFLICT'));
    assert.deepEqual(await orders.replacing(replaces), one);
    opened.clock.advance(11);
    assert.equal(await orders.replacing(replaces), undefined, 'it expired before it was finalized');
    const second = again();
    await orders.create(second, created);
    await orders.update(next(second, { stage: 'failed' }), changed);
    const third = again();
    await orders.create(third, created);
    assert.equal((await orders.replacing(replaces))?.id, third.id);
  });

  test(`${name}: orders are forgotten after their end and that of their certificates, under the lease alone`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { orders } = store.acme;
    const { id: authorityId } = await activeAuthority(store);
    const lease = await store.leases.acquire('pruning', 'me', start * 1000, 86_400_000);
    assert.ok(lease !== undefined);
    const { order: finalizing } = await acmeWorld(store);
    const certificate = await issued(store, authorityId, { notAfter: start + 500 });
    const lasting = order({ authorizations: valid, expiresAt: start + 10 });
    await orders.create(lasting, created);
    const processed = next(lasting, { stage: 'finalizing', csrDer: Buffer.from('csr') });
    await orders.update(processed, changed);
    await orders.update(next(processed, { stage: 'issued', serial: certificate.serial }), changed);
    const ended = [20, 30, 40].map((seconds) => order({ expiresAt: start + seconds }));
    for (const each of ended) await orders.create(each, created);
    const prune = (endedBefore: number, limit: number, after?: AcmeOrderPlace) =>
      orders.prune({ endedBefore, after }, limit, lease, ({ id }) =>
        event('acme.order.forgotten', id),
      );
    const first = await prune(start + 40, 1);
    assert.deepEqual(first, { removed: 1, next: { endsAt: start + 20, id: ended[0]?.id } });
    assert.deepEqual(await prune(start + 40, 5, first.next), { removed: 1, next: undefined });
    const left = async () => ids(await everyPage((page) => orders.list({}, page), 2)).toSorted();
    const stays = [finalizing.id, lasting.id, ended[2]?.id as string];
    assert.deepEqual(await left(), stays.toSorted());
    assert.equal((await prune(start + 500, 5)).removed, 1);
    assert.deepEqual(await left(), stays.slice(0, 2).toSorted(), 'its certificate is still valid');
    assert.equal((await prune(start + 501, 5)).removed, 1);
    assert.equal((await prune(start + 100_000, 5)).removed, 0, 'a finalizing order stays');
    assert.deepEqual(await left(), [finalizing.id]);
    const { items } = await store.audit.list({ kind: 'acme.order.forgotten' }, { size: 10 });
    assert.equal(items.length, 4);
    await store.leases.release(lease);
    assert.ok(await store.leases.acquire('pruning', 'other', start * 1000, 86_400_000));
    await assert.rejects(prune(start, 2), code('LEASE_LOST'));
  });
}
