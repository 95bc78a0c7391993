import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import type { EntryReads, EntrySight } from '../../../src/domain/index.ts';
import type { EntryGuard } from '../../../src/store/ports/index.ts';
import {
  agentId,
  by,
  code,
  creates,
  deletes,
  draft,
  everyPage,
  serverId,
  start,
  updates,
  type OpenStore,
} from './fixtures.ts';

const other = 'spiffe://example.org/meshca/agent/node-2';

const guard = (reads: Partial<EntryReads>, judge: (found: EntrySight) => unknown): EntryGuard => ({
  locks: ['entries'],
  reads: { spiffeIds: [], templates: false, statedBelow: [], ...reads },
  judge,
});

export function entryCases(name: string, open: OpenStore): void {
  test(`${name}: an entry is stored with revision and times, updated by compare-and-set, and deleted`, async () => {
    await using opened = await open();
    const { store } = opened;
    const made = draft(
      {
        placeholders: { 'unix.user': ['a', 'b'] },
        isTemplate: true,
        spiffeId: 'spiffe://example.org/user/{unix.user}',
        dnsNames: ['a.example'],
        admin: true,
        federatesWith: ['a.test', 'b.test'],
        ips: ['192.0.2.7', '2001:db8::7'],
      },
      ['unix:uid:2', 'unix:gid:1', 'unix:uid:2'],
    );
    const [created] = await store.entries.write([creates(made)], by);
    const expected = {
      ...made,
      selectors: [
        { type: 'unix', value: 'gid:1' },
        { type: 'unix', value: 'uid:2' },
      ],
      revision: 1,
      createdAt: start,
      updatedAt: start,
      createdBy: 'uid:0',
      createdOrder: created?.after?.createdOrder,
    };
    assert.deepEqual(created, { action: 'create', before: undefined, after: expected });
    assert.deepEqual(await store.entries.byId(made.id), expected);
    const [changed] = await store.entries.write([updates({ ...made, hint: 'h' }, 1)], {
      now: start + 5,
      createdBy: 'uid:7',
    });
    assert.deepEqual(changed?.after, { ...expected, hint: 'h', revision: 2, updatedAt: start + 5 });
    assert.deepEqual(changed?.before, expected);
    await assert.rejects(store.entries.write([updates(made, 1)], by), code('CONFLICT'));
    await assert.rejects(store.entries.write([deletes(made.id, 1)], by), code('CONFLICT'));
    const [gone] = await store.entries.write([deletes(made.id, 2)], by);
    assert.deepEqual([gone?.before?.hint, gone?.after], ['h', undefined]);
    await assert.rejects(store.entries.write([deletes(made.id)], by), code('NOT_FOUND'));
    await assert.rejects(store.entries.write([updates(made)], by), code('NOT_FOUND'));
    assert.deepEqual(
      (await store.audit.list({ subject: made.id }, { size: 9 })).items.map(({ kind }) => kind),
      ['entry.created', 'entry.updated', 'entry.deleted'],
    );
  });

  test(`${name}: entries keep the order in which they were created, inside one write too`, async () => {
    await using opened = await open();
    const named = (id: string) => draft({ id, spiffeId: `spiffe://example.org/${id}` });
    const { store } = opened;
    await store.entries.write([creates(named('z')), creates(named('m'))], by);
    await store.entries.write([creates(named('c')), creates(named('a'))], by);
    await store.entries.write([updates({ ...named('z'), hint: 'h' })], { ...by, now: start + 9 });
    const { store: again } = await opened.reopen();
    await again.entries.write([creates(named('b'))], by);
    const { items } = await again.entries.list({}, { size: 9 });
    const sorted = items.toSorted((left, right) => left.createdOrder - right.createdOrder);
    assert.deepEqual(
      sorted.map(({ id }) => id),
      ['z', 'm', 'c', 'a', 'b'],
    );
    assert.ok((sorted[0]?.createdOrder ?? 0) > 0);
  });

  test(`${name}: a failing write, a throwing guard or a mismatched ID leaves no trace`, async () => {
    await using opened = await open();
    const { store } = opened;
    const made = draft();
    await store.entries.write([creates(made)], by);
    const before = await store.meta.position();
    const records = await store.audit.count();
    const fresh = draft({ spiffeId: 'spiffe://example.org/new' });
    await assert.rejects(
      store.entries.write([creates(fresh), deletes(made.id), deletes('unknown')], by),
      code('NOT_FOUND'),
    );
    await assert.rejects(
      store.entries.write(
        [creates(fresh), creates(draft({ id: made.id, spiffeId: 'spiffe://example.org/x' }))],
        by,
      ),
      code('ALREADY_EXISTS'),
    );
    await assert.rejects(
      store.entries.write([{ ...creates(fresh), id: 'another' }], by),
      code('INVALID_REQUEST'),
    );
    await assert.rejects(
      store.entries.write(
        [creates(fresh)],
        by,
        guard({ spiffeIds: [made.spiffeId] }, (found) => {
          assert.deepEqual(
            found.bySpiffeId(made.spiffeId).map(({ id }) => id),
            [made.id],
          );
          throw new PkiError('SPIFFE_ID_RESERVED', 'guarded');
        }),
      ),
      code('SPIFFE_ID_RESERVED'),
    );
    await assert.rejects(
      store.entries.write(
        [creates(fresh)],
        by,
        guard({}, () => {
          throw new TypeError('a defect');
        }),
      ),
      code('INTERNAL'),
    );
    for (const look of [
      (found: EntrySight) => found.bySpiffeId(made.spiffeId),
      (found: EntrySight) => found.templates(),
      (found: EntrySight) => [...found.statedBelow(made.spiffeId)],
    ])
      await assert.rejects(
        store.entries.write(
          [creates(fresh)],
          by,
          guard({ spiffeIds: ['spiffe://example.org/x'], statedBelow: ['x'] }, look),
        ),
        code('INTERNAL'),
        'a guard sees what it has named, and nothing else',
      );
    assert.deepEqual(await store.meta.position(), before);
    assert.equal(await store.audit.count(), records);
    assert.equal(await store.entries.count(), 1);
    assert.equal(await store.entries.byId(fresh.id), undefined);
    assert.deepEqual(await store.entries.write([], by), []);
    assert.deepEqual(await store.meta.position(), before, 'nothing to write moves nothing');
  });

  test(`${name}: two entries may not have equal SPIFFE ID, parent and selectors, in any order`, async () => {
    await using opened = await open();
    const { store } = opened;
    const a = draft({}, ['unix:uid:1', 'unix:gid:1']);
    const b = draft({}, ['unix:uid:2']);
    await store.entries.write([creates(a), creates(b)], by);
    await assert.rejects(
      store.entries.write([creates(draft({}, ['unix:gid:1', 'unix:uid:1', 'unix:uid:1']))], by),
      code('ALREADY_EXISTS'),
    );
    await assert.rejects(
      store.entries.write([updates({ ...b, selectors: a.selectors })], by),
      code('ALREADY_EXISTS'),
    );
    await assert.rejects(
      store.entries.write(
        [
          creates(draft({ spiffeId: 'spiffe://example.org/t' })),
          creates(draft({ spiffeId: 'spiffe://example.org/t' })),
        ],
        by,
      ),
      code('ALREADY_EXISTS'),
    );
    await store.entries.write(
      [creates(draft({ parentId: other }, ['unix:uid:1', 'unix:gid:1']))],
      by,
    );
    await store.entries.write(
      [updates({ ...a, selectors: b.selectors }), updates({ ...b, selectors: a.selectors })],
      by,
    );
    assert.deepEqual(
      (await store.entries.byId(a.id))?.selectors,
      b.selectors,
      'two may swap in one write',
    );
    await store.entries.write([creates(draft({ id: 'again' }, ['unix:uid:2'])), deletes(a.id)], by);
    assert.equal(
      await store.entries.byId(a.id),
      undefined,
      'and one may take the place of another',
    );
  });

  test(`${name}: of concurrent creations of the same entry one wins`, async () => {
    await using opened = await open();
    const { store } = opened;
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, () => store.entries.write([creates(draft())], by)),
    );
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
    assert.equal(await store.entries.count(), 1);
    assert.equal((await store.meta.position()).revision, 1);
  });

  test(`${name}: entries are found by ID, SPIFFE ID, parent and selector; inserts do not move pages`, async () => {
    await using opened = await open();
    const { store } = opened;
    const made = Array.from({ length: 12 }, (_, index) =>
      draft(
        {
          id: `e-${String(index).padStart(3, '0')}`,
          spiffeId: `spiffe://example.org/w${index % 3}`,
          parentId: index % 2 === 0 ? agentId : other,
        },
        [`unix:uid:${index}`, 'unix:gid:5'],
      ),
    );
    await store.entries.write(made.map(creates), by);
    const ids = async (
      filter: Parameters<typeof store.entries.list>[0],
    ): Promise<readonly string[]> =>
      (await everyPage((page) => store.entries.list(filter, page), 2)).map(({ id }) => id);
    assert.deepEqual(
      await ids({}),
      made.map(({ id }) => id),
    );
    assert.deepEqual(await ids({ spiffeId: 'spiffe://example.org/w1' }), [
      'e-001',
      'e-004',
      'e-007',
      'e-010',
    ]);
    assert.deepEqual(await ids({ selector: 'unix:uid:7' }), ['e-007']);
    assert.deepEqual(
      await ids({ selector: 'unix:gid:5', parentId: other, spiffeId: 'spiffe://example.org/w0' }),
      ['e-003', 'e-009'],
    );
    assert.deepEqual(await ids({ selector: 'unix:uid:%' }), []);
    await store.entries.write(
      [updates({ ...made[7]!, selectors: [{ type: 'unix', value: 'uid:99' }] })],
      by,
    );
    assert.deepEqual(
      [await ids({ selector: 'unix:uid:7' }), await ids({ selector: 'unix:uid:99' })],
      [[], ['e-007']],
    );
    assert.deepEqual(
      (await store.entries.byIds(['e-002', 'none', 'e-001', 'e-002'])).map(({ id }) => id).sort(),
      ['e-001', 'e-002'],
    );
    let added = 0;
    const paged = await everyPage(
      (page) =>
        store.entries
          .write(
            [
              creates(
                draft({
                  id: `e-00${added}-later`,
                  spiffeId: `spiffe://example.org/n${(added += 1)}`,
                }),
              ),
            ],
            by,
          )
          .then(() => store.entries.list({}, page)),
      5,
    );
    assert.equal(new Set(paged.map(({ id }) => id)).size, paged.length);
    for (const { id } of made) assert.ok(paged.some((entry) => entry.id === id));
  });

  test(`${name}: entries of several parents come in pages, each once; node sets are those of the server`, async () => {
    await using opened = await open();
    const { store } = opened;
    const set = 'spiffe://example.org/nodes/blue';
    const made = [agentId, other, set, serverId].flatMap((parentId) =>
      Array.from({ length: 5 }, (_, index) =>
        draft({ parentId, spiffeId: `spiffe://example.org/p${index}` }),
      ),
    );
    await store.entries.write(made.map(creates), by);
    const parents = [set, agentId, set, 'spiffe://example.org/none'];
    const found = await everyPage((page) => store.entries.byParents(parents, page), 3);
    assert.deepEqual(
      found.map(({ id }) => id).sort(),
      made
        .filter(({ parentId }) => parents.includes(parentId))
        .map(({ id }) => id)
        .sort(),
    );
    assert.deepEqual(
      (await store.entries.nodeSets(serverId)).map(({ parentId }) => parentId),
      Array.from({ length: 5 }, () => serverId),
    );
    assert.deepEqual(await store.entries.byParents([], { size: 5 }), {
      items: [],
      next: undefined,
    });
    for (const after of ['x', '[]', '[1,2]'])
      await assert.rejects(
        store.entries.byParents([agentId], { size: 5, after }),
        code('INVALID_REQUEST'),
      );
  });

  test(`${name}: a guard sees templates and all stated IDs below a prefix, across its pages`, async () => {
    await using opened = await open();
    const { store } = opened;
    const stated = Array.from({ length: 450 }, (_, index) =>
      draft({ spiffeId: `spiffe://example.org/user/u${String(index).padStart(4, '0')}` }),
    );
    const twin = draft({ spiffeId: stated[0]!.spiffeId, parentId: other });
    const template = draft({
      spiffeId: 'spiffe://example.org/user/{unix.user}',
      isTemplate: true,
      placeholders: { 'unix.user': ['a'] },
    });
    await store.entries.write(
      [...stated, twin, template, draft({ spiffeId: 'spiffe://example.org/users' })].map(creates),
      by,
    );
    let seen: readonly string[] = [];
    const below = 'spiffe://example.org/user/';
    const reads = { spiffeIds: [twin.spiffeId], templates: true, statedBelow: [below] };
    const judge = (view: EntrySight): void => {
      assert.deepEqual(
        view.templates().map(({ id }) => id),
        [template.id],
      );
      assert.deepEqual(
        view
          .bySpiffeId(twin.spiffeId)
          .map(({ id }) => id)
          .sort(),
        [stated[0]!.id, twin.id].sort(),
      );
      seen = [...view.statedBelow(below)].map(({ id }) => id);
      for (const { id } of view.statedBelow(below)) {
        assert.equal(id, seen[0]);
        break;
      }
    };
    await store.entries.write([], by, guard(reads, judge));
    assert.deepEqual([...seen].sort(), [...stated, twin].map(({ id }) => id).sort());
  });
}
