import assert from 'node:assert/strict';
import { test } from 'node:test';
import { podHolder } from '../../../src/domain/index.ts';
import {
  activeAuthority,
  agentId,
  attested,
  event,
  intent,
  issued,
  newSerial,
  start,
  type OpenStore,
} from './fixtures.ts';

/** Whose certificates an authority still has, by its kind of holder. */
export function issuedCases(name: string, open: OpenStore): void {
  test(`${name}: a downstream CA counts as live and unreported for its issuer until it ends`, async () => {
    await using opened = await open();
    const { store } = opened;
    await store.agents.record({ agent: attested(), act: 'attest', event: event('agent.attested') });
    const root = await activeAuthority(store, 'issuing');
    const ca = {
      kind: 'authority',
      profile: 'authority',
      spiffeId: 'spiffe://example.org',
    } as const;
    const [byHand, byWorkload] = [
      await issued(store, root.id, { ...ca, holder: 'uid:0', notAfter: start + 9000 }),
      await issued(store, root.id, { ...ca, holder: agentId, notAfter: start + 5000 }),
    ];
    await issued(store, root.id, {
      ...ca,
      holder: 'server',
      requester: 'server',
      notAfter: start + 90_000,
    });
    assert.deepEqual((await store.rotations.signedBy(start, 0)).get(root.id), {
      lastExpiry: start + 9000,
      live: 2,
      liveUnreported: 2,
    });
    assert.deepEqual(await store.rotations.lastNotAfterByHolder(start), new Map());
    assert.equal(
      (await store.rotations.unheld(start, start)).total,
      1,
      'what its agent confirms is not inferred as well',
    );
    await store.revocations.revoke(
      { serial: byHand.serial, reason: 'superseded', revokedAt: start, revokedBy: 'uid:0' },
      event('certificate.revoked'),
    );
    assert.deepEqual((await store.rotations.signedBy(start, 0)).get(root.id), {
      lastExpiry: start + 5000,
      live: 1,
      liveUnreported: 1,
    });
    await store.revocations.revoke(
      { serial: byWorkload.serial, reason: 'superseded', revokedAt: start, revokedBy: 'uid:0' },
      event('certificate.revoked'),
    );
    assert.equal((await store.rotations.signedBy(start, 0)).get(root.id)?.live ?? 0, 0);
  });

  test(`${name}: the awaited expiry is the latest of unexpired certificates that others received before`, async () => {
    await using opened = await open();
    const { store } = opened;
    await store.agents.record({ agent: attested(), act: 'attest', event: event('agent.attested') });
    const given = (notAfter: number, createdAt: number, holder = 'spiffe://example.org/mesh') =>
      intent({ notAfter, createdAtMs: createdAt * 1000, holder });
    const all = [
      given(start + 50, start - 10),
      given(start + 80, start - 10),
      given(start + 90, start + 5),
      given(start - 5, start - 10),
      given(start + 85, start - 10, agentId),
      given(start + 500, start - 10),
    ];
    await store.issuance.recordIntents(all);
    assert.deepEqual(
      [
        await store.rotations.reliedExpiry(start, start + 100),
        await store.rotations.reliedExpiry(start, start + 60),
        await store.rotations.reliedExpiry(start, start + 10),
      ],
      [start + 80, start + 50, 0],
    );
  });

  test(`${name}: the expiry of a leaf is known from its record even if the inventory lacks it`, async () => {
    await using opened = await open();
    const { store, clock } = opened;
    await store.agents.record({ agent: attested(), act: 'attest', event: event('agent.attested') });
    const issued = (holder: string, authorityId: string, notAfter: number) => ({
      ...event('certificate.issued', 'spiffe://example.org/web', {
        holder,
        authority: authorityId,
        notAfter,
        serial: newSerial(),
        certificateKind: 'workload',
      }),
      timeMs: clock.now() * 1000,
    });
    await store.audit.append([
      issued(agentId, 'a1', start + 300),
      issued(agentId, 'a1', start + 200),
      issued('spiffe://example.org/mesh', 'a2', start + 250),
      issued('server', 'a2', start + 900),
    ]);
    clock.advance(20);
    await store.audit.append([issued('spiffe://example.org/mesh', 'a2', start + 400)]);
    const check = async (found: typeof store): Promise<void> => {
      assert.deepEqual(
        [...(await found.rotations.lastNotAfterByHolder(start + 220))].sort(),
        [
          ['server', start + 900],
          [agentId, start + 300],
          ['spiffe://example.org/mesh', start + 400],
        ].sort(),
      );
      assert.deepEqual(
        [...(await found.rotations.signedBy(start + 220, 10))]
          .filter(([id]) => id.startsWith('a'))
          .map(([id, { lastExpiry, live }]) => [id, lastExpiry, live]),
        [
          ['a1', start + 300, 1],
          ['a2', start + 900, 3],
        ],
      );
      // what was given after the publication had the new root with it
      assert.deepEqual(await found.rotations.unheld(start + 5, start + 220), {
        total: 1,
        waiting: 1,
        until: start + 250,
        holders: [],
      });
      assert.deepEqual(await found.rotations.unheld(start + 5, start + 260), {
        total: 0,
        waiting: 0,
        until: 0,
        holders: [],
      });
      assert.deepEqual(await found.rotations.unheld(start + 30, start + 260), {
        total: 1,
        waiting: 1,
        until: start + 400,
        holders: [],
      });
    };
    await check(store);
    const { store: again } = await opened.reopen();
    await check(again);
    await again.close();
  });

  test(`${name}: a certificate for names counts for its authority, and for nothing of the mesh`, async () => {
    await using opened = await open();
    const { store } = opened;
    await store.agents.record({ agent: attested(), act: 'attest', event: event('agent.attested') });
    const issuer = await activeAuthority(store, 'names-issuing');
    const given = (holder: string, over: object) =>
      issued(store, issuer.id, {
        kind: 'endpoint',
        profile: 'classic',
        spiffeId: 'dns:www.example.test',
        holder,
        requester: holder,
        createdAtMs: start * 1000,
        ...over,
      });
    await given('spiffe://example.org/acme', { delegationId: 'd1', notAfter: start + 900 });
    await given('spiffe://example.org/acme', { delegationId: 'd1', notAfter: start + 500 });
    await given(agentId, { entryId: 'e1', notAfter: start + 700 });
    const check = async (found: typeof store): Promise<void> => {
      const { rotations } = found;
      assert.deepEqual((await rotations.signedBy(start, 0)).get(issuer.id), {
        lastExpiry: start + 900,
        live: 3,
        liveUnreported: 2,
      });
      assert.deepEqual([...(await rotations.lastNotAfterByHolder(start))], []);
      assert.equal((await rotations.unheld(start + 10, start)).total, 0);
      assert.equal(await rotations.reliedExpiry(start, start + 1_000), 0);
      const first = await rotations.unreplaced(issuer.id, start + 501, { size: 1 });
      assert.deepEqual(
        first.items.map(({ entryId, subject, notAfter }) => [entryId, subject, notAfter]),
        [['e1', 'dns:www.example.test', start + 700]],
      );
      const rest = await rotations.unreplaced(issuer.id, start, {
        size: 9,
        after: first.next ?? '',
      });
      assert.deepEqual(
        rest.items.map(({ delegationId, notAfter }) => [delegationId, notAfter]),
        [['d1', start + 900]],
      );
      assert.equal(rest.next, undefined);
    };
    await check(store);
    const { store: again } = await opened.reopen();
    await check(again);
    await again.close();
  });

  test(`${name}: a holder that keeps its roots counts with its later leaves too, and is named`, async () => {
    await using opened = await open();
    const { store, clock } = opened;
    const issuer = await activeAuthority(store, 'issuing');
    const given = (holder: string, from: number, notAfter: number) =>
      issued(store, issuer.id, {
        kind: 'linkerd',
        profile: 'linkerd',
        spiffeId: 'dns:web.shop.serviceaccount.identity.linkerd.cluster.local',
        holder,
        createdAtMs: from * 1000,
        notAfter,
      });
    const before = 'linkerd:prod/shop/web-1#0011223344556677';
    const restarted = 'linkerd:prod/shop/web-2#8899aabbccddeeff';
    const published = start + 10;
    clock.advance(5);
    await given(before, start + 5, start + 50);
    clock.advance(25);
    await given(before, start + 30, start + 100);
    await given(restarted, start + 30, start + 120);
    await given('spiffe://example.org/mesh', start + 30, start + 130);
    const check = async (found: typeof store): Promise<void> => {
      const { holders, ...counts } = await found.rotations.unheld(published, start + 40);
      assert.deepEqual(counts, { total: 4, waiting: 2, until: start + 100 });
      assert.deepEqual(
        holders.map((each) => ({ ...each })),
        [{ holder: before, until: start + 100 }],
      );
      assert.equal(await found.rotations.reliedExpiry(published, start + 110), start + 100);
      const { waiting, until } = await found.rotations.unheld(published, start + 101);
      assert.deepEqual([waiting, until], [0, 0], 'its last certificate has ended');
    };
    await check(store);
    const { store: again } = await opened.reopen();
    await check(again);
    await again.close();
  });

  test(`${name}: a pod counts until its certificate ends, or until the same pod has a later one`, async () => {
    await using opened = await open();
    const { store, clock } = opened;
    const issuer = await activeAuthority(store, 'issuing');
    const given = (holder: string, from: number, notAfter: number) =>
      issued(store, issuer.id, {
        kind: 'delegated',
        spiffeId: 'spiffe://example.org/ns/shop/sa/web',
        holder,
        createdAtMs: from * 1000,
        notAfter,
      });
    const renewed = podHolder('prod', { name: 'web-0', uid: 'u0' });
    const silent = podHolder('prod', { name: 'web-0', uid: 'u1' });
    const published = start + 10;
    clock.advance(5);
    await given(renewed, start + 5, start + 500);
    await given(silent, start + 5, start + 400);
    const check = async (
      found: typeof store,
      waiting: readonly (readonly [string, number])[],
    ): Promise<void> => {
      const facts = await found.rotations.unheld(published, start + 40);
      assert.deepEqual(
        facts.holders.map(({ holder, until }) => [holder, until]),
        waiting,
      );
      assert.deepEqual([facts.waiting, facts.until], [waiting.length, waiting[0]?.[1]]);
    };
    await check(store, [
      [renewed, start + 500],
      [silent, start + 400],
    ]);
    clock.advance(15);
    await given(renewed, start + 20, start + 600);
    await check(store, [[silent, start + 400]]);
    assert.equal((await store.rotations.signedBy(start + 40, 0)).get(issuer.id)?.live, 3);
    const { store: again } = await opened.reopen();
    await check(again, [[silent, start + 400]]);
    await again.close();
  });

  test(`${name}: that a leaf was replaced counts from what this process was told, never from its row`, async () => {
    await using opened = await open();
    const { store } = opened;
    await store.agents.record({ agent: attested(), act: 'attest', event: event('agent.attested') });
    const issuer = await activeAuthority(store, 'issuing');
    const old = await issued(store, issuer.id);
    const next = await issued(store, issuer.id, { replaces: old.serial });
    const live = async (of: typeof store): Promise<number> =>
      (await of.rotations.signedBy(start, 0)).get(issuer.id)?.live ?? 0;
    assert.equal(await live(store), 2);
    await store.issuance.confirmReplaced(agentId, [old.serial], start);
    assert.equal(await live(store), 1);
    await store.issuance.confirmGone(agentId, 'workload', old.serial, start);
    assert.equal(await live(store), 0);
    const { store: again } = await opened.reopen();
    assert.equal(await live(again), 1, 'the rows are as before');
    await again.issuance.confirmReplaced(agentId, [old.serial, next.serial], start);
    assert.equal(await live(again), 0);
    await again.close();
  });

  test(`${name}: a JWT-SVID and a downstream CA are known from their records, until they end`, async () => {
    await using opened = await open();
    const { store } = opened;
    const last = async (of: typeof store): Promise<readonly (number | undefined)[]> => {
      const signed = await of.rotations.signedBy(start, 10);
      return ['jwt', 'ca'].map((id) => signed.get(id)?.lastExpiry);
    };
    const serial = newSerial();
    await store.audit.append([
      event('jwt.issued', 'x', { authority: 'jwt', expiresAt: start + 300 }),
      event('authority.downstream', 'x', { authority: 'ca', serial, notAfter: start + 9000 }),
    ]);
    assert.deepEqual(await last(store), [start + 300, start + 9000]);
    const { store: again } = await opened.reopen();
    assert.deepEqual(await last(again), [start + 300, start + 9000]);
    assert.equal((await again.rotations.signedBy(start, 10)).get('ca')?.live, 1);
    await again.revocations.revokeAgain(
      {
        serial,
        authorityId: 'ca',
        reason: 'superseded',
        revokedAt: start,
        revokedBy: 'uid:0',
        notAfter: start + 9000,
        shard: 0,
      },
      event('certificate.revoked'),
    );
    assert.deepEqual(await last(again), [start + 300, undefined]);
    await again.close();
  });
}
