import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError, type ErrorCode } from '../../src/common/errors/index.ts';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import { allShares, type RotationOperation } from '../../src/domain/index.ts';
import { authority, event, start, type OpenStore } from './store-fixtures.ts';

const operation = (changes: Partial<RotationOperation> = {}): RotationOperation => ({
  id: uuidv7(), kind: 'root', state: 'running', version: 0, createdBy: 'uid:0', createdAt: start, updatedAt: start,
  spec: { successorId: uuidv7(), targets: ['a'], targetsBecome: 'old', parentId: null, trigger: 'operator', shares: allShares }, ...changes,
});

const code = (expected: ErrorCode) => (thrown: unknown): boolean => thrown instanceof PkiError && thrown.code === expected;
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
    const paused = await store.rotations.update(first.id, 0, { state: 'paused' }, start + 1, happened());
    assert.deepEqual([paused.state, paused.version, paused.updatedAt], ['paused', 1, start + 1]);
    await assert.rejects(store.rotations.update(first.id, 0, { state: 'running' }, start + 2, happened()), code('CONFLICT'));
    await store.rotations.update(first.id, 1, { state: 'done' }, start + 2, happened());
    await assert.rejects(store.rotations.update(first.id, 2, { state: 'running' }, start + 2, happened()), code('CONFLICT'));
    await store.rotations.create(operation(), happened());
    assert.deepEqual((await store.rotations.list({ underWay: true })).map(({ kind }) => kind).sort(), ['jwt', 'root']);
    assert.equal((await store.rotations.list({ underWay: false })).length, 3);
  });

  test(`${name}: an actor whose lease was taken over moves no authority and no rotation`, async () => {
    await using opened = await open();
    const { store } = opened;
    const lease = await store.leases.acquire('rotation', 'one', 1_000, 1_000);
    assert.ok(lease);
    const made = authority();
    await store.authorities.create(made, happened(), lease);
    const second = await store.leases.acquire('rotation', 'two', 3_000, 1_000);
    assert.ok(second && second.fence > lease.fence);
    await assert.rejects(store.authorities.create(authority(), happened(), lease), code('LEASE_LOST'));
    await assert.rejects(store.authorities.transition(made.id, 1, 'discarded', start, happened(), { lease }), code('LEASE_LOST'));
    await assert.rejects(store.rotations.create(operation(), happened(), lease), code('LEASE_LOST'));
    await store.authorities.transition(made.id, 1, 'discarded', start, happened(), { lease: second });
  });

  test(`${name}: an authority remembers when it was published, its window of tainting and what it signs for`, async () => {
    await using opened = await open();
    const { store } = opened;
    const made = authority({ kind: 'jwt' });
    await store.authorities.create(made, happened());
    await store.authorities.complete(made.id, 1, { spkiDer: Buffer.from('k'), certificateDer: null, subjectKeyId: null, notBefore: start, notAfter: start + 10 }, happened());
    const published = await store.authorities.transition(made.id, 2, 'published', start + 5, happened());
    assert.equal(published.publishedAt, start + 5);
    const active = await store.authorities.transition(made.id, 3, 'active', start + 6, happened(), { scope: { share: 0.1 } });
    assert.deepEqual([active.scope, active.activatedAt], [{ share: 0.1 }, start + 6]);
    const wide = await store.authorities.rescope(made.id, 4, {}, happened());
    assert.deepEqual([wide.scope, wide.activatedAt, wide.version], [{}, start + 6, 5]);
    const tainted = await store.authorities.transition(made.id, 5, 'tainted', start + 7, happened(), { taintWindowSeconds: 60 });
    assert.deepEqual([tainted.taintWindowSeconds, tainted.taintedAt], [60, start + 7]);
    await assert.rejects(store.authorities.rescope(made.id, 6, {}, happened()), code('CONFLICT'));
  });
}
