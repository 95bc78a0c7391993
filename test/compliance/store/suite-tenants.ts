import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Ledger } from '../../../src/ledger/index.ts';
import { tenant } from './acme-fixtures.ts';
import { by, code, creates, draft, event, everyPage, start, type OpenStore } from './fixtures.ts';

const created = event('tenant.created');
const changed = event('tenant.changed');
const allOf = async (tenants: Ledger['tenants']) =>
  (await tenants.owners()).all().toSorted((one, other) => (one.name < other.name ? -1 : 1));
const bank = tenant({
  name: 'bank',
  dnsSuffixes: ['bank.example.org'],
  spiffePrefixes: ['spiffe://example.org/bank/'],
});

/** Tenants, who own names. */
export function tenantCases(name: string, open: OpenStore): void {
  test(`${name}: a tenant is created once, read by its name, and listed until it ends`, async () => {
    await using opened = await open();
    const { tenants } = opened.store;
    assert.deepEqual(await allOf(tenants), []);
    await tenants.create(tenant(), created);
    await tenants.create(bank, created);
    await assert.rejects(tenants.create(tenant(), created), code('ALREADY_EXISTS'));
    assert.deepEqual(await tenants.byName('shop'), tenant());
    assert.equal(await tenants.byName('nobody'), undefined);
    assert.deepEqual(await allOf(tenants), [bank, tenant()]);
    const ended = tenant({ state: 'ended', version: 2, updatedAt: start + 5 });
    await tenants.update(ended, changed);
    const names = async (includeEnded: boolean) =>
      (await everyPage((page) => tenants.list({ includeEnded }, page), 2)).map((each) => each.name);
    assert.deepEqual(await names(true), ['bank', 'shop']);
    assert.deepEqual(await names(false), ['bank']);
    const again = await opened.reopen();
    assert.deepEqual(await allOf(again.store.tenants), [bank, ended]);
  });

  test(`${name}: no tenant has a name of another one, or one above or below it`, async () => {
    await using opened = await open();
    const { tenants } = opened.store;
    await tenants.create(tenant(), created);
    await tenants.create(bank, created);
    const overlaps: readonly (readonly [readonly string[], readonly string[]])[] = [
      [['shop.example.org'], []],
      [['a.b.shop.example.org'], []],
      [['other.org', 'example.org'], []],
      [[], ['spiffe://example.org/shop/']],
      [[], ['spiffe://example.org/shop/front/']],
      [[], ['spiffe://example.org/']],
    ];
    for (const [dnsSuffixes, spiffePrefixes] of overlaps) {
      const names = { dnsSuffixes, spiffePrefixes };
      const refused = code('TENANT_OVERLAPS');
      await assert.rejects(
        tenants.create(tenant({ name: 'other', ...names }), created),
        refused,
        JSON.stringify(names),
      );
      await assert.rejects(
        tenants.update({ ...bank, ...names, version: 2 }, changed),
        refused,
        JSON.stringify(names),
      );
    }
    const beside = tenant({
      name: 'other',
      dnsSuffixes: ['workshop.example.org', 'hop.example.org'],
      spiffePrefixes: ['spiffe://example.org/shopping/'],
    });
    await tenants.create(beside, created);
    // a tenant does not overlap with itself
    await tenants.update({ ...bank, dnsSuffixes: ['a.bank.example.org'], version: 2 }, changed);
    assert.equal((await allOf(tenants)).length, 3);
  });

  test(`${name}: of two tenants that ask for a name at once one gets it`, async () => {
    await using opened = await open();
    const { tenants } = opened.store;
    const outcomes = await Promise.allSettled([
      tenants.create(tenant({ name: 'one' }), created),
      tenants.create(tenant({ name: 'two' }), created),
    ]);
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    assert.deepEqual(
      (await allOf(tenants)).map((each) => each.name),
      ['one'],
    );
  });

  test(`${name}: a tenant is changed by its version, and the name of a deleted one is never given again`, async () => {
    await using opened = await open();
    const { tenants } = opened.store;
    await assert.rejects(tenants.update(tenant({ version: 2 }), changed), code('NOT_FOUND'));
    await tenants.create(tenant(), created);
    for (const version of [1, 3])
      await assert.rejects(tenants.update(tenant({ version }), changed), code('CONFLICT'));
    await tenants.update(tenant({ state: 'ended', version: 2 }), event('tenant.ended'));
    const gone = { state: 'deleted', dnsSuffixes: [], spiffePrefixes: [], version: 3 } as const;
    await tenants.update(tenant(gone), event('tenant.deleted'));
    assert.deepEqual(await tenants.byName('shop'), tenant(gone));
    await assert.rejects(tenants.create(tenant(), created), code('ALREADY_EXISTS'));
    // its names are free
    await tenants.create(tenant({ name: 'heir' }), created);
    const again = await opened.reopen();
    const reused = again.store.tenants.create(tenant({ spiffePrefixes: [] }), created);
    await assert.rejects(reused, code('ALREADY_EXISTS'));
    const { items } = await again.store.audit.list({}, { size: 50 });
    assert.deepEqual(
      items.flatMap(({ kind }) => (kind.startsWith('tenant.') ? [kind] : [])),
      ['tenant.created', 'tenant.ended', 'tenant.deleted', 'tenant.created'],
    );
  });

  test(`${name}: agents lose the entries of a tenant that ends, and get them again when it is deleted`, async () => {
    await using opened = await open();
    const { tenants, entries } = opened.store;
    const parentId = 'spiffe://example.org/meshca/agent/n1';
    const own = draft({ spiffeId: 'spiffe://example.org/shop/web', parentId });
    const other = draft({ spiffeId: 'spiffe://example.org/shops/web', parentId });
    const [written] = await entries.write([creates(own), creates(other)], by);
    await tenants.create(tenant(), created);
    const since = async (revision: number) => entries.changes([parentId], revision);
    const before = (await since(0))?.position.revision as number;
    await tenants.update(tenant({ state: 'ended', version: 2 }), event('tenant.ended'));
    assert.deepEqual((await since(before))?.removedIds, [written?.after?.id]);
    assert.deepEqual((await entries.changedParents(before))?.parentIds, [parentId]);
    assert.equal((await entries.byParents([parentId], { size: 10 })).items.length, 2);
    const ended = (await since(before))?.position.revision as number;
    const gone = { state: 'deleted', dnsSuffixes: [], spiffePrefixes: [], version: 3 } as const;
    await tenants.update(tenant(gone), event('tenant.deleted'));
    assert.equal(await since(ended), undefined, 'a snapshot brings them back');
  });
}
