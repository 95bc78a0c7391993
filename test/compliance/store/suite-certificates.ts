import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  activeAuthority,
  agentId,
  by,
  code,
  creates,
  draft,
  everyPage,
  intent,
  issued,
  start,
  type OpenStore,
} from './fixtures.ts';

export function certificateCases(name: string, open: OpenStore): void {
  test(`${name}: the certificates of a holder come in steps, each once, by their ends`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id } = await activeAuthority(store);
    const ends = [30, 10, 20, 10, 20, 10, 0, -1];
    for (const more of ends) await issued(store, id, { notAfter: start + 50 + more });
    const { items: leaves } = await store.certificates.list({}, 'created', { size: 20 });
    await issued(store, id, { notAfter: start + 60, holder: 'spiffe://example.org/other' });
    await store.issuance.recordIntents([intent({ authorityId: id, notAfter: start + 60 })]);
    const holder = leaves[0]?.holder ?? '';
    const step = { now: start + 50, limit: 3 };
    const held = [await store.certificates.heldBy(holder, step)];
    for (let last = held.at(-1)?.at(-1); last !== undefined; last = held.at(-1)?.at(-1))
      held.push(await store.certificates.heldBy(holder, { ...step, after: last }));
    const expected = leaves
      .filter(({ notAfter }) => notAfter >= start + 50)
      .toSorted((one, other) => one.notAfter - other.notAfter || one.sequence - other.sequence);
    assert.deepEqual(
      held.flat(),
      expected.map(({ serial, publicKeySha256, authorityId, sequence, notAfter }) => ({
        ...{ serial, publicKeySha256, authorityId, sequence, notAfter },
      })),
    );
    assert.deepEqual(
      held.map(({ length }) => length),
      [3, 3, 1, 0],
    );
  });

  test(`${name}: pages by creation or expiry list each certificate once while others are issued`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const batch = Array.from({ length: 25 }, (_, index) =>
      intent({ authorityId, notAfter: start + 100 + ((index * 7) % 5) }),
    );
    await store.issuance.recordIntents(batch);
    const created = await everyPage(async (page) => {
      await store.issuance.recordIntents([intent({ spiffeId: 'spiffe://example.org/later' })]);
      return store.certificates.list({ spiffeId: 'spiffe://example.org/web' }, 'created', page);
    }, 4);
    assert.deepEqual(
      created.map(({ serial }) => serial),
      batch.map(({ serial }) => serial),
    );
    const newest = await everyPage(
      (page) => store.certificates.list({ spiffeId: 'spiffe://example.org/web' }, 'newest', page),
      3,
    );
    assert.deepEqual(newest, created.toReversed());
    const expiring = await everyPage(
      (page) => store.certificates.list({ spiffeId: 'spiffe://example.org/web' }, 'expiry', page),
      3,
    );
    assert.deepEqual(
      expiring.map(({ sequence }) => sequence),
      created
        .toSorted((a, b) => a.notAfter - b.notAfter || a.sequence - b.sequence)
        .map(({ sequence }) => sequence),
    );
    for (const after of ['x', '1.2.3', '-', '1e3'])
      await assert.rejects(
        store.certificates.list({}, 'created', { size: 1, after }),
        code('INVALID_REQUEST'),
      );
  });

  test(`${name}: certificates are found by their names, those below a suffix, and their addresses`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const named = async (dnsNames: readonly string[], ips: readonly string[] = []) =>
      (
        await issued(store, authorityId, {
          spiffeId: `dns:${dnsNames[0]}`,
          kind: 'endpoint',
          profile: 'short',
          names: { dnsNames, ips },
          notAfter: start + 10,
        })
      ).serial;
    const made = draft({ spiffeId: 'spiffe://example.org/owner' });
    await store.entries.write([creates(made)], by);
    const shop = await named(['shop.test', 'www.shop.test'], ['192.0.2.7']);
    const deep = await named(['a.b.shop.test']);
    const wild = await named(['*.shop.test'], ['2001:db8::7']);
    await named(['myshop.test'], ['192.0.2.70']);
    await named(['shop.test.other.test']);
    const found = async (
      filter: Parameters<typeof store.certificates.list>[0],
    ): Promise<readonly string[]> =>
      (await store.certificates.list(filter, 'created', { size: 10 })).items.map(
        ({ serial }) => serial,
      );
    assert.deepEqual(await found({ dnsName: 'www.shop.test' }), [shop]);
    assert.deepEqual(await found({ dnsName: '*.shop.test' }), [wild]);
    assert.deepEqual(await found({ dnsSuffix: 'shop.test' }), [shop, deep, wild]);
    assert.deepEqual(await found({ dnsSuffix: 'b.shop.test' }), [deep]);
    assert.deepEqual(await found({ ip: '192.0.2.7' }), [shop]);
    assert.deepEqual(await found({ ip: '2001:db8::7', dnsSuffix: 'shop.test' }), [wild]);
    assert.deepEqual(await found({ ip: '192.0.2.7', dnsName: 'a.b.shop.test' }), []);
    assert.deepEqual(await found({ profile: 'classic' }), []);
    assert.equal((await found({ profile: 'short' })).length, 5);
    const ofEntry = await issued(store, authorityId, {
      kind: 'endpoint',
      entryId: made.id,
      holder: agentId,
    });
    const byHand = await issued(store, authorityId, {
      kind: 'endpoint',
      entryId: null,
      holder: 'uid:7',
    });
    await issued(store, authorityId, { kind: 'workload', entryId: null, holder: 'uid:7' });
    assert.deepEqual(await found({ owner: made.spiffeId }), [ofEntry.serial]);
    assert.deepEqual(await found({ owner: 'uid:7' }), [byHand.serial]);
    assert.equal((await found({ owner: agentId })).length, 5, 'those without an entry');
    const lease = await store.leases.acquire('prune', 'me', start * 1000, 86_400_000);
    assert.ok(lease !== undefined);
    await store.retention.pruneCertificates(start + 11, 10, lease);
    assert.deepEqual(await found({ dnsSuffix: 'shop.test' }), []);
  });

  test(`${name}: certificates of a tenant are issued for it or have a name of it, each once`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const made = async (spiffeId: string, ...dnsNames: string[]): Promise<string> =>
      (await issued(store, authorityId, { spiffeId, names: { dnsNames, ips: [] } })).serial;
    const recorded = async (tenant: string): Promise<string> => {
      const names = { dnsNames: [], ips: ['192.0.2.1'] };
      const record = { spiffeId: 'ip:192.0.2.1', names, tenant } as const;
      return (await issued(store, authorityId, record)).serial;
    };
    const web = await made('spiffe://example.org/shop/web', 'web.shop.test');
    const names = await made('dns:shop.test', 'shop.test', 'www.shop.test');
    const older = await made('spiffe://example.org/other', 'api.shop.test');
    await made('spiffe://example.org/shops/x', 'myshop.test');
    const address = await recorded('shop');
    await recorded('shops');
    const ownNames = { dnsSuffixes: ['shop.test'], spiffePrefixes: ['spiffe://example.org/shop/'] };
    const owned = { name: 'shop', ...ownNames };
    const { items } = await store.certificates.list({ owned }, 'created', { size: 10 });
    const serials = (records: readonly { readonly serial: string }[]): readonly string[] =>
      records.map(({ serial }) => serial);
    assert.deepEqual(serials(items), [web, names, older, address]);
    assert.equal(items.at(-1)?.tenant, 'shop');
    assert.equal(await store.certificates.countLive({ owned }, start), 4);
    const step = { after: 0, now: start, limit: 10 };
    const scanned = await store.certificates.scan({ tenant: 'shop', owned }, step);
    assert.deepEqual(serials(scanned.items), [web, names, older, address]);
    const nothing = { name: 'nobody', dnsSuffixes: [], spiffePrefixes: [] };
    assert.equal(await store.certificates.countLive({ owned: nothing }, start), 0);
  });

  test(`${name}: each filter of certificates selects what it says, alone and together`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    const web = await issued(store, authorityId, { entryId: 'e1', notAfter: start + 10 });
    const webAdmin = await issued(store, authorityId, {
      spiffeId: 'spiffe://example.org/web/admin',
      kind: 'admin',
      holder: 'uid:0',
      notAfter: start + 20,
    });
    const pending = intent({
      spiffeId: 'spiffe://example.org/webb',
      authorityId: 'other',
      notAfter: start + 30,
    });
    await store.issuance.recordIntents([pending]);
    const found = async (
      filter: Parameters<typeof store.certificates.list>[0],
    ): Promise<readonly string[]> => {
      const byCreation = await store.certificates.list(filter, 'created', { size: 10 });
      const byExpiry = await store.certificates.list(filter, 'expiry', { size: 10 });
      assert.deepEqual(byCreation.items, byExpiry.items);
      return byCreation.items.map(({ serial }) => serial);
    };
    assert.deepEqual(await found({}), [web.serial, webAdmin.serial, pending.serial]);
    assert.deepEqual(await found({ spiffeId: 'spiffe://example.org/web' }), [web.serial]);
    assert.deepEqual(await found({ spiffeIdPrefix: 'spiffe://example.org/web/' }), [
      webAdmin.serial,
    ]);
    assert.deepEqual(await found({ spiffeIdPrefix: 'spiffe://example.org/web' }), [
      web.serial,
      webAdmin.serial,
      pending.serial,
    ]);
    assert.deepEqual(await found({ spiffeIdPrefix: 'spiffe://example.org/%' }), []);
    assert.deepEqual(await found({ kind: 'admin' }), [webAdmin.serial]);
    assert.deepEqual(await found({ state: 'intent' }), [pending.serial]);
    assert.deepEqual(await found({ state: 'issued' }), [web.serial, webAdmin.serial]);
    assert.deepEqual(await found({ holder: agentId }), [web.serial, pending.serial]);
    assert.deepEqual(await found({ authorityId: 'other' }), [pending.serial]);
    assert.deepEqual(await found({ entryId: 'e1' }), [web.serial]);
    assert.deepEqual(await found({ expiresBefore: start + 20 }), [web.serial]);
    assert.deepEqual(await found({ expiresAfter: start + 20 }), [pending.serial]);
    assert.deepEqual(
      await found({ holder: agentId, state: 'issued', expiresAfter: start, authorityId }),
      [web.serial],
    );
  });

  test(`${name}: live means issued or abandoned, inside its life and not confirmed as replaced`, async () => {
    await using opened = await open();
    const { store } = opened;
    const { id: authorityId } = await activeAuthority(store);
    await issued(store, authorityId, { notAfter: start + 10 });
    const old = await issued(store, authorityId, { notAfter: start + 40 });
    await store.issuance.recordIntents([intent({ authorityId, notAfter: start + 30 })]);
    assert.equal(await store.certificates.countLive({ authorityId }, start), 2);
    await store.issuance.abandonIntents('crash', start * 1000);
    assert.equal(await store.certificates.countLive({ authorityId }, start), 3);
    assert.equal(await store.certificates.lastNotAfter({ authorityId }, start), start + 40);
    await issued(store, authorityId, { notAfter: start + 5, replaces: old.serial });
    await store.issuance.confirmReplaced(agentId, [old.serial], start);
    assert.equal(await store.certificates.lastNotAfter({ authorityId }, start), start + 30);
    assert.equal(
      await store.certificates.countLive({ authorityId }, start + 10),
      2,
      'notAfter is inclusive',
    );
    assert.equal(await store.certificates.countLive({ authorityId }, start + 11), 1);
    assert.equal(await store.certificates.lastNotAfter({ authorityId }, start + 31), 0);
    assert.deepEqual(await store.certificates.countByState(), {
      intent: 0,
      issued: 3,
      withheld: 0,
      refused: 0,
      abandoned: 1,
    });
  });

  test(`${name}: a serial that is no hex or not on record is just not found`, async () => {
    await using opened = await open();
    for (const serial of ['', 'zz', 'abc', '00'])
      assert.equal(await opened.store.certificates.bySerial(serial), undefined);
  });
}
