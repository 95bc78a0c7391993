import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalBytes, leafHash } from '../../../src/domain/index.ts';
import { code, delegation, event, everyPage, role, start, type OpenStore } from './fixtures.ts';

export function recordCases(name: string, open: OpenStore): void {
  test(`${name}: delegations are active until revoked or expired`, async () => {
    await using opened = await open();
    const { store } = opened;
    const [a, b, c] = [
      delegation({ id: 'a', expiresAt: start + 10 }),
      delegation({ id: 'b' }),
      delegation({ id: 'c', clientId: 'spiffe://example.org/linkerd' }),
    ];
    for (const one of [a, b, c])
      await store.delegations.create(one, event('delegation.created', one.id));
    await assert.rejects(
      store.delegations.create(a, event('delegation.created')),
      code('ALREADY_EXISTS'),
    );
    assert.deepEqual(await store.delegations.byId(a.id), a);
    const active = async (now: number): Promise<readonly string[]> =>
      (await store.delegations.activeFor(a.clientId, now)).map(({ id }) => id);
    assert.deepEqual([await active(start + 9), await active(start + 10)], [[a.id, b.id], [b.id]]);
    assert.deepEqual(
      await store.delegations.revoke(b.id, start + 1, event('delegation.revoked', b.id)),
      { ...b, revokedAt: start + 1 },
    );
    await assert.rejects(
      store.delegations.revoke(b.id, start + 2, event('delegation.revoked')),
      code('CONFLICT'),
    );
    await assert.rejects(
      store.delegations.revoke('none', start, event('delegation.revoked')),
      code('NOT_FOUND'),
    );
    assert.deepEqual(await active(start + 9), [a.id]);
    const listed = (includeRevoked: boolean) =>
      everyPage((page) => store.delegations.list({ includeRevoked }, page), 1);
    assert.deepEqual(
      (await listed(false)).map(({ id }) => id),
      [a.id, c.id],
    );
    assert.equal((await listed(true)).length, 3);
  });

  test(`${name}: roles are found by their members, who change with them`, async () => {
    await using opened = await open();
    const { store } = opened;
    const auditor = role({
      members: [
        'spiffe://example.org/alice',
        'spiffe://example.org/bob',
        'spiffe://example.org/alice',
      ],
    });
    await store.roles.put(auditor, event('role.put', auditor.name));
    await store.roles.put(
      role({ name: 'operator', members: ['spiffe://example.org/bob'] }),
      event('role.put'),
    );
    assert.deepEqual(
      (await store.roles.forMember('spiffe://example.org/bob')).map(({ name: found }) => found),
      ['auditor', 'operator'],
    );
    const changed = await store.roles.put(
      role({ members: [], createdAt: start + 50, updatedAt: start + 50 }),
      event('role.put'),
    );
    assert.deepEqual([changed.createdAt, changed.updatedAt], [start, start + 50]);
    assert.deepEqual(await store.roles.forMember('spiffe://example.org/alice'), []);
    assert.equal((await store.roles.delete('operator', event('role.deleted'))).name, 'operator');
    assert.deepEqual(await store.roles.forMember('spiffe://example.org/bob'), []);
    await assert.rejects(store.roles.delete('operator', event('role.deleted')), code('NOT_FOUND'));
    assert.deepEqual(
      (await everyPage((page) => store.roles.list(page), 1)).map(({ name: found }) => found),
      ['auditor'],
    );
  });

  test(`${name}: the log keeps canonical bytes without gaps; search by subject, actor, kind and time`, async () => {
    await using opened = await open();
    const { store } = opened;
    const at = (timeMs: number, changes: Partial<ReturnType<typeof event>> = {}) => ({
      ...event('entry.created'),
      timeMs,
      ...changes,
    });
    const events = [
      at(100),
      at(300, { kind: 'certificate.issued' }),
      at(200, { actor: 'server' }),
      at(400, { subject: 'y' }),
      at(350),
      at(500, { kind: 'certificate.issued' }),
    ];
    await store.audit.append(events.slice(0, 2));
    await Promise.all(events.slice(2).map((one) => store.audit.append([one])));
    const all = await everyPage((page) => store.audit.list({}, page), 2);
    assert.deepEqual(
      all.map(({ sequence }) => sequence),
      [1, 2, 3, 4, 5, 6],
    );
    for (const [index, record] of all.entries()) {
      assert.deepEqual(record.canonical, canonicalBytes(events[index]!));
      assert.equal(record.sha256, leafHash(record.canonical).toString('hex'));
    }
    const found = async (
      filter: Parameters<typeof store.audit.list>[0],
    ): Promise<readonly number[]> =>
      (await everyPage((page) => store.audit.list(filter, page), 2)).map(
        ({ sequence }) => sequence,
      );
    assert.deepEqual(await found({ subject: 'y' }), [4]);
    assert.deepEqual(await found({ actor: 'server' }), [3]);
    assert.deepEqual(await found({ kind: 'certificate.issued' }), [2, 6]);
    assert.deepEqual(await found({ kind: 'entry.created' }), [1, 3, 4, 5]);
    assert.deepEqual(
      await found({ sinceMs: 250 }),
      [2, 4, 5, 6],
      'the clock went back between them',
    );
    assert.deepEqual(await found({ sinceMs: 501 }), []);
    assert.deepEqual(await found({ sinceMs: 0, kind: 'entry.created', actor: 'uid:0' }), [1, 4, 5]);
    assert.deepEqual(await found({ newestFirst: true }), [6, 5, 4, 3, 2, 1]);
    assert.deepEqual(await found({ sequence: 4 }), [4]);
    assert.deepEqual(await found({ sequence: 4, newestFirst: true }), [4]);
    assert.deepEqual(await found({ sequence: 99 }), []);
    assert.deepEqual(await found({ newestFirst: true, sinceMs: 250, untilMs: 400 }), [5, 4, 2]);
    assert.deepEqual(await found({ untilMs: 300 }), [1, 2, 3]);
    assert.deepEqual(
      await found({ newestFirst: true, kind: 'entry.created', untilMs: 399 }),
      [5, 3, 1],
    );
    const later = 10 * 3_600_000;
    await store.audit.append([at(later), at(later - 60_000)]);
    assert.deepEqual(await found({ newestFirst: true, untilMs: later - 1 }), [8, 6, 5, 4, 3, 2, 1]);
    assert.deepEqual(await found({ newestFirst: true, untilMs: 350 }), [5, 3, 2, 1]);
    assert.equal(await store.audit.count(), 8);
    await store.audit.append([]);
    assert.equal(await store.audit.count(), 8);
  });

  test(`${name}: a database belongs to one trust domain and has one epoch, also after it is opened again`, async () => {
    await using first = await open();
    assert.equal(await first.store.meta.trustDomain(), undefined);
    const position = await first.store.meta.claim('example.org', start);
    assert.equal(position.revision, 0);
    assert.notEqual(position.epoch, '');
    assert.deepEqual(await first.store.meta.claim('example.org', start + 9), position);
    await assert.rejects(
      first.store.meta.claim('example.com', start),
      code('TRUST_DOMAIN_CHANGED'),
    );
    const { store } = await first.reopen();
    assert.equal(await store.meta.trustDomain(), 'example.org');
    assert.deepEqual(await store.meta.position(), position);
    await store.close();
  });

  test(`${name}: a close writes what was accepted before and refuses later writes; closing twice is safe`, async () => {
    await using first = await open();
    const accepted = first.store.audit.append([event('a.b')]);
    const second = await first.reopen();
    await accepted;
    assert.equal(await second.store.audit.count(), 1);
    await assert.rejects(first.store.audit.append([event('a.b')]), code('SHUTTING_DOWN'));
    await assert.rejects(first.store.audit.count(), code('SHUTTING_DOWN'));
    first.store.agents.seen('x', { at: 1 });
    await second.store.close();
    await second.store.close();
  });
}
