import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RegistrationEntry } from '../../../src/domain/index.ts';
import type { Ledger } from '../../../src/ledger/index.ts';
import {
  agentId,
  by,
  creates,
  deletes,
  draft,
  everyPage,
  updates,
  type OpenStore,
} from './fixtures.ts';

const other = 'spiffe://example.org/meshca/agent/node-2';

export function entryChangeCases(name: string, open: OpenStore): void {
  const changed = async (
    store: Ledger,
    parents: readonly string[],
    since: number,
  ): Promise<unknown> => {
    const found = await store.entries.changes(parents, since);
    return found === undefined
      ? undefined
      : {
          upserts: found.upserts.map(({ id }) => id).sort(),
          removed: [...found.removedIds].sort(),
          at: found.position.revision,
        };
  };

  test(`${name}: changes of a parent are its new and updated entries and those it lost`, async () => {
    await using opened = await open();
    const { store } = opened;
    const [a, b, c] = [
      draft({ id: 'a' }),
      draft({ id: 'b', spiffeId: 'spiffe://example.org/b' }),
      draft({ id: 'c', parentId: other }),
    ];
    await store.entries.write([creates(a), creates(b), creates(c)], by);
    assert.deepEqual(await changed(store, [agentId], 0), {
      upserts: ['a', 'b'],
      removed: [],
      at: 1,
    });
    assert.deepEqual(await changed(store, [agentId], 1), { upserts: [], removed: [], at: 1 });
    await store.entries.write([updates({ ...a, hint: 'x' }), deletes('b')], by);
    assert.deepEqual(await changed(store, [agentId], 1), { upserts: ['a'], removed: ['b'], at: 2 });
    assert.deepEqual(await changed(store, [other], 1), { upserts: [], removed: [], at: 2 });
    await store.entries.write([creates(b)], by);
    assert.deepEqual(
      await changed(store, [agentId], 1),
      { upserts: ['a', 'b'], removed: [], at: 3 },
      'one that came back is not gone',
    );
    assert.deepEqual(
      await changed(store, [agentId], 4),
      undefined,
      'a position from the future is of another database',
    );
  });

  test(`${name}: an entry that moves is gone for one parent, new for the other, and updated for who has both`, async () => {
    await using opened = await open();
    const { store } = opened;
    const a = draft({ id: 'a' });
    await store.entries.write([creates(a)], by);
    await store.entries.write([updates({ ...a, parentId: other })], by);
    assert.deepEqual(await changed(store, [agentId], 1), { upserts: [], removed: ['a'], at: 2 });
    assert.deepEqual(await changed(store, [other], 1), { upserts: ['a'], removed: [], at: 2 });
    assert.deepEqual(await changed(store, [agentId, other, agentId], 1), {
      upserts: ['a'],
      removed: [],
      at: 2,
    });
    await store.entries.write([updates(a)], by);
    assert.deepEqual(
      await changed(store, [agentId], 1),
      { upserts: ['a'], removed: [], at: 3 },
      'there and back again',
    );
    assert.deepEqual(
      await changed(store, [other], 1),
      { upserts: [], removed: ['a'], at: 3 },
      'it may never have been seen: harmless',
    );
    await store.entries.write([updates({ ...a, parentId: other }), deletes('a')], by);
    assert.deepEqual(await changed(store, [other], 3), { upserts: [], removed: ['a'], at: 4 });
  });

  test(`${name}: the parents that changed are named once, both of a moved entry`, async () => {
    await using opened = await open();
    const { store } = opened;
    const a = draft({ id: 'a' });
    await store.entries.write(
      [creates(a), creates(draft({ id: 'b', spiffeId: 'spiffe://example.org/b' }))],
      by,
    );
    const parents = async (since: number): Promise<readonly string[] | undefined> =>
      (await store.entries.changedParents(since))?.parentIds.toSorted();
    assert.deepEqual(await parents(0), [agentId]);
    assert.deepEqual(await parents(1), []);
    await store.entries.write([updates({ ...a, parentId: other })], by);
    assert.deepEqual(await parents(1), [agentId, other]);
    await store.entries.write([deletes('a')], by);
    assert.deepEqual(await store.entries.changedParents(2), {
      parentIds: [other],
      position: await store.meta.position(),
    });
    assert.equal(await parents(9), undefined);
  });

  test(`${name}: removals are pruned, and who is older than that must take a snapshot`, async () => {
    await using opened = await open({ removalLimit: 10 });
    const { store } = opened;
    for (let round = 0; round < 40; round += 1) {
      const one = draft({ id: `e${round}` });
      await store.entries.write([creates(one)], by);
      await store.entries.write([deletes(one.id)], by);
    }
    assert.equal(await store.entries.changes([agentId], 1), undefined);
    assert.equal(await store.entries.changedParents(1), undefined);
    const answers = await Promise.all(
      Array.from({ length: 80 }, (_, revision) => store.entries.changes([agentId], revision)),
    );
    const first = answers.findIndex((answer) => answer !== undefined);
    assert.ok(first > 50 && first < 70, `the horizon is at ${first}`);
    for (const [revision, answer] of answers.entries()) {
      if (revision < first) assert.equal(answer, undefined);
      else
        assert.equal(
          answer?.removedIds.length,
          40 - Math.floor(revision / 2),
          `complete from ${revision}`,
        );
    }
  });

  test(`${name}: an agent that follows random changes holds exactly what a snapshot gives`, async () => {
    await using opened = await open({ removalLimit: 25 });
    const { store } = opened;
    const parents = [agentId, 'spiffe://example.org/nodes/blue'];
    const held = new Map<string, RegistrationEntry>();
    let position = 0;
    const live = new Map<string, ReturnType<typeof draft>>();
    const random = seeded(7);
    for (let round = 0; round < 150; round += 1) {
      const id = `e${Math.floor(random() * 30)}`;
      const parentId = [...parents, other][Math.floor(random() * 3)]!;
      const known = live.get(id);
      if (known === undefined) {
        live.set(id, draft({ id, parentId, spiffeId: `spiffe://example.org/${id}` }));
        await store.entries.write([creates(live.get(id)!)], by);
      } else if (random() < 0.4) {
        live.delete(id);
        await store.entries.write([deletes(id)], by);
      } else {
        live.set(id, { ...known, parentId });
        await store.entries.write([updates(live.get(id)!)], by);
      }
      if (random() < 0.3) {
        const delta = await store.entries.changes(parents, position);
        if (delta === undefined) {
          held.clear();
          position = (await store.meta.position()).revision;
          for (const entry of await everyPage((page) => store.entries.byParents(parents, page), 7))
            held.set(entry.id, entry);
        } else {
          for (const gone of delta.removedIds) held.delete(gone);
          for (const entry of delta.upserts) held.set(entry.id, entry);
          position = delta.position.revision;
        }
        const snapshot = await everyPage((page) => store.entries.byParents(parents, page), 100);
        assert.deepEqual([...held.keys()].sort(), snapshot.map((entry) => entry.id).sort());
        assert.deepEqual(
          snapshot.map((entry) => held.get(entry.id)),
          snapshot,
        );
      }
    }
  });

  test(`${name}: 20,000 entries of one parent are read in pages, and too many changes ask for that snapshot`, async () => {
    await using opened = await open();
    const { store } = opened;
    for (let from = 0; from < 20_000; from += 2000) {
      await store.entries.write(
        Array.from({ length: 2000 }, (_, index) =>
          creates(draft({ spiffeId: `spiffe://example.org/w${from + index}` })),
        ),
        by,
      );
    }
    const before = performance.now();
    const all = await everyPage((page) => store.entries.byParents([agentId], page), 1000);
    const took = performance.now() - before;
    assert.equal(new Set(all.map(({ id }) => id)).size, 20_000);
    assert.ok(took < 5000, `paging took ${took} ms`);
    assert.equal(await store.entries.changes([agentId], 0), undefined);
    assert.equal((await store.entries.changes([agentId], 9))?.upserts.length, 2000);
    assert.equal(await store.entries.count(), 20_000);
  });
}

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
