import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError, type ErrorCode } from '../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { encodeEvidence } from '../../../src/common/tlog/index.ts';
import {
  allShares,
  podHolder,
  type ConsumerRecord,
  type RotationOperation,
} from '../../../src/domain/index.ts';
import {
  activeAuthority,
  agentId,
  attested,
  authority,
  event,
  intent,
  issued,
  newSerial,
  start,
  type OpenStore,
} from './fixtures.ts';

const operation = (changes: Partial<RotationOperation> = {}): RotationOperation => ({
  id: uuidv7(),
  kind: 'root',
  state: 'running',
  version: 0,
  createdBy: 'uid:0',
  createdAt: start,
  updatedAt: start,
  spec: {
    successorId: uuidv7(),
    targets: ['a'],
    targetsBecome: 'old',
    parentId: null,
    trigger: 'operator',
    shares: allShares,
  },
  ...changes,
});

const code =
  (expected: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof PkiError && thrown.code === expected;
const happened = () => event('rotation.changed');

export function rotationCases(name: string, open: OpenStore): void {
  test(`${name}: a rotation is one at a time of its kind, and changes by compare-and-set`, async () => {
    await using opened = await open();
    const { store } = opened;
    const first = operation();
    await store.rotations.create(first, happened());
    await assert.rejects(store.rotations.create(operation(), happened()), code('CONFLICT'));
    await store.rotations.create(operation({ kind: 'jwt' }), happened());
    assert.deepEqual(await store.rotations.byId(first.id), first);
    const paused = await store.rotations.update(
      { id: first.id, version: 0, now: start + 1 },
      { state: 'paused' },
      happened(),
    );
    assert.deepEqual([paused.state, paused.version, paused.updatedAt], ['paused', 1, start + 1]);
    await assert.rejects(
      store.rotations.update(
        { id: first.id, version: 0, now: start + 2 },
        { state: 'running' },
        happened(),
      ),
      code('CONFLICT'),
    );
    await store.rotations.update(
      { id: first.id, version: 1, now: start + 2 },
      { state: 'done' },
      event('rotation.done'),
    );
    await assert.rejects(
      store.rotations.update(
        { id: first.id, version: 2, now: start + 2 },
        { state: 'running' },
        happened(),
      ),
      code('CONFLICT'),
    );
    await store.rotations.create(operation(), happened());
    assert.deepEqual(
      (await store.rotations.list({ underWay: true })).map(({ kind }) => kind).sort(),
      ['jwt', 'root'],
    );
    assert.equal((await store.rotations.list({ underWay: false })).length, 3);
  });

  test(`${name}: an actor whose lease was taken over moves no authority and no rotation`, async () => {
    await using opened = await open();
    const { store } = opened;
    const lease = await store.leases.acquire('rotation', 'one', 1_000, 1_000);
    assert.ok(lease);
    const made = authority();
    await store.authorities.create(made, happened(), { lease });
    const second = await store.leases.acquire('rotation', 'two', 3_000, 1_000);
    assert.ok(second && second.fence > lease.fence);
    await assert.rejects(
      store.authorities.create(authority(), happened(), { lease }),
      code('LEASE_LOST'),
    );
    await assert.rejects(
      store.authorities.transition(
        { id: made.id, version: 1, now: start },
        'discarded',
        happened(),
        { lease },
      ),
      code('LEASE_LOST'),
    );
    await assert.rejects(
      store.rotations.create(operation(), happened(), { lease }),
      code('LEASE_LOST'),
    );
    await store.authorities.transition(
      { id: made.id, version: 1, now: start },
      'discarded',
      happened(),
      {
        lease: second,
      },
    );
  });

  test(`${name}: an authority remembers when it was published, its window of tainting and what it signs for`, async () => {
    await using opened = await open();
    const { store } = opened;
    const made = authority({ kind: 'jwt' });
    await store.authorities.create(made, happened());
    await store.authorities.complete(
      { id: made.id, version: 1 },
      {
        spkiDer: Buffer.from('k'),
        certificateDer: null,
        subjectKeyId: null,
        notBefore: start,
        notAfter: start + 10,
      },
      happened(),
    );
    const published = await store.authorities.transition(
      { id: made.id, version: 2, now: start + 5 },
      'published',
      happened(),
    );
    assert.equal(published.publishedAt, start + 5);
    const active = await store.authorities.transition(
      { id: made.id, version: 3, now: start + 6 },
      'active',
      happened(),
      {
        scope: { share: 0.1 },
      },
    );
    assert.deepEqual([active.scope, active.activatedAt], [{ share: 0.1 }, start + 6]);
    const wide = await store.authorities.rescope({ id: made.id, version: 4 }, {}, happened());
    assert.deepEqual([wide.scope, wide.activatedAt, wide.version], [{}, start + 6, 5]);
    const tainted = await store.authorities.transition(
      { id: made.id, version: 5, now: start + 7 },
      'tainted',
      happened(),
      { taintWindowSeconds: 60 },
    );
    assert.deepEqual([tainted.taintWindowSeconds, tainted.taintedAt], [60, start + 7]);
    await assert.rejects(
      store.authorities.rescope({ id: made.id, version: 6 }, {}, happened()),
      code('CONFLICT'),
    );
  });

  test(`${name}: the list of counted consumers is stored with the activation, and the log has its digest`, async () => {
    await using opened = await open();
    const { store } = opened;
    const made = authority({ kind: 'jwt' });
    await store.authorities.create(made, happened());
    await store.authorities.complete(
      { id: made.id, version: 1 },
      {
        spkiDer: Buffer.from('k'),
        certificateDer: null,
        subjectKeyId: null,
        notBefore: start,
        notAfter: start + 10,
      },
      happened(),
    );
    await store.authorities.transition(
      { id: made.id, version: 2, now: start + 5 },
      'published',
      happened(),
    );
    const evidence = encodeEvidence(
      {
        alteredAgents: 0,
        authority: { id: made.id, kind: 'jwt', publishedAt: start + 5, sha256: '' },
        decidedAt: start + 6,
        inferred: { confirmed: 0, needed: 0, relied: 0, until: 0 },
        proven: { confirmed: 0, needed: 0 },
        root: null,
        scope: '{}',
        sets: [],
        shares: allShares,
        unprovable: { until: 0 },
        without: { by: '', deadline: 0, kind: 'proven', reason: '' },
      },
      Array.from({ length: 2_500 }, (_, index) => ({
        agent: `spiffe://x/${String(index).padStart(4, '0')}`,
        class: 'expired' as const,
        until: start,
      })),
    );
    const active = event('authority.active', made.id, { evidence: evidence.sha256 });
    // neither under another digest, nor where the transition fails
    await assert.rejects(
      store.authorities.transition(
        { id: made.id, version: 3, now: start + 6 },
        'active',
        event('authority.active', made.id),
        { evidence },
      ),
      code('INTERNAL'),
    );
    await assert.rejects(
      store.authorities.transition({ id: made.id, version: 9, now: start + 6 }, 'active', active, {
        evidence,
      }),
      code('CONFLICT'),
    );
    assert.deepEqual(
      [
        store.evidence.expected(made.id),
        await store.evidence.statement(evidence.sha256),
        await store.evidence.chunk(evidence.sha256, 0),
      ],
      [undefined, undefined, undefined],
    );
    await store.authorities.transition(
      { id: made.id, version: 3, now: start + 6 },
      'active',
      active,
      { evidence },
    );
    const { store: again } = await opened.reopen();
    assert.equal(again.evidence.expected(made.id), evidence.sha256);
    assert.deepEqual(await again.evidence.statement(evidence.sha256), evidence.statement);
    assert.deepEqual(
      await Promise.all([0, 1, 2, 3].map((index) => again.evidence.chunk(evidence.sha256, index))),
      [...evidence.chunks, undefined],
    );
    const altered: string[] = [];
    again.objects.onMismatch(({ kind, id }) => void altered.push(`${kind} ${id}`));
    again.evidence.altered(made.id);
    assert.deepEqual(altered, [`activation-evidence ${made.id}`]);
    await again.close();
  });

  test(`${name}: reports of agents are marked with the time of the first, and end with the process`, async () => {
    await using opened = await open();
    const { store, clock } = opened;
    await store.agents.record({ agent: attested(), act: 'attest', event: event('agent.attested') });
    const consumer = (id: string, over: Partial<ConsumerRecord> = {}): ConsumerRecord => ({
      agentId,
      id,
      kind: 'proxy',
      spiffeId: '',
      authoritySetDigest: 'aa',
      jwtSetDigest: '',
      issuerSetDigest: '',
      capabilities: [],
      state: 'confirmed',
      reason: '',
      since: start,
      description: '',
      ...over,
    });
    // changes without the snapshot before them tell nothing
    await store.agents.updateConsumers(agentId, [consumer('a')], []);
    assert.deepEqual(
      (await store.rotations.consumers()).map(({ id, heardAt }) => [id, heardAt]),
      [['a', undefined]],
    );
    await store.agents.replaceConsumers(agentId, [consumer('a'), consumer('b')]);
    clock.advance(10);
    await store.agents.replaceConsumers(agentId, [
      consumer('a'),
      consumer('b', { authoritySetDigest: 'bb' }),
    ]);
    await store.agents.updateConsumers(
      agentId,
      [consumer('c', { agentId: 'spiffe://example.org/meshca/agent/victim' })],
      [],
    );
    assert.deepEqual(
      (await store.rotations.consumers()).map(({ agentId: owner, id, heardAt }) => [
        owner,
        id,
        heardAt,
      ]),
      [
        [agentId, 'a', start],
        [agentId, 'b', start + 10],
        [agentId, 'c', start + 10],
      ],
    );
    // one of a group that fails leaves the others' reports, and none of its own
    const unknown = 'spiffe://example.org/meshca/agent/nobody';
    const settled = await Promise.allSettled([
      store.agents.updateConsumers(agentId, [], ['c']),
      store.agents.replaceConsumers(unknown, [consumer('x')]),
      store.agents.updateConsumers(agentId, [], ['b']),
    ]);
    assert.deepEqual(
      settled.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(
      (await store.rotations.consumers()).map(({ id }) => id),
      ['a'],
    );
    const { store: again } = await opened.reopen();
    assert.deepEqual(
      (await again.rotations.consumers()).map(({ id, heardAt }) => [id, heardAt]),
      [['a', undefined]],
    );
    await again.close();
  });

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
