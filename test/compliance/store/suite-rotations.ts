import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError, type ErrorCode } from '../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { encodeEvidence } from '../../../src/common/tlog/index.ts';
import {
  allShares,
  type ConsumerRecord,
  type RotationOperation,
} from '../../../src/domain/index.ts';
import { agentId, attested, authority, event, start, type OpenStore } from './fixtures.ts';

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
}
