import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Position } from '../../../../src/domain/index.ts';
import { settle } from '../../../support/agent.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
  selector,
} from '../../../support/services-world.ts';
import { until } from '../../../support/until.ts';
import { server, Receiver, connect, settled, held } from './hub-support.ts';

test('an agent gets a snapshot of its entries, then only what changes for it', async () => {
  await using w = await createServicesWorld();
  await w.addEntry({ id: 'a', spiffeId: id('/a'), parentId: agentId('n1') });
  const n1 = await connect(w, (await w.joinAgent('n1')).caller);
  const n2 = await connect(w, (await w.joinAgent('n2')).caller);
  assert.equal(n1.messages[0]?.kind, 'welcome');
  assert.deepEqual([held(n1), held(n2)], [['a'], []]);
  const sent = n2.messages.length;
  await w.addEntry({ id: 'b', spiffeId: id('/b'), parentId: agentId('n1') });
  await settled(w);
  await w.services.entries.update(
    local,
    entryInput({ id: 'a', spiffeId: id('/a2'), parentId: agentId('n1') }),
    0,
  );
  await w.services.entries.delete(local, ['b']);
  await settled(w);
  assert.deepEqual([...n1.held], [['a', id('/a2')]]);
  assert.equal(n2.messages.length, sent, 'what concerns another is not sent');
  await w.services.entries.update(
    local,
    entryInput({ id: 'a', spiffeId: id('/a2'), parentId: agentId('n2') }),
    0,
  );
  await settled(w);
  assert.deepEqual(
    [held(n1), held(n2)],
    [[], ['a']],
    'an entry that moves leaves one and comes to the other',
  );
});

test('agents lose the entries of a tenant when it ends, also those that were away, and no others', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const { caller: away } = await w.joinAgent('n2');
  for (const [entry, path, node] of [
    ['a', '/shop/web', 'n1'],
    ['b', '/shops/web', 'n1'],
    ['c', '/shop/db', 'n2'],
    ['d', '/db', 'n2'],
  ] as const)
    await w.addEntry({ id: entry, spiffeId: id(path), parentId: agentId(node) });
  const shop = {
    ...{ name: 'shop', description: '', dnsSuffixes: [], spiffePrefixes: [id('/shop/')] },
    ...{ quotaCertificates: 0, quotaSeconds: 0 },
  };
  await w.services.tenants.create(local, shop, { dryRun: false });
  const n1 = await connect(w, caller);
  const n2 = await connect(w, away);
  n2.connection?.closed();
  await w.services.tenants.end(local, 'shop', 'offboarded');
  await settled(w);
  assert.deepEqual(held(n1), ['b']);
  assert.equal(n1.pages().at(-1)?.snapshotBegin, false, 'it is told what is gone, and no more');
  const back = await connect(w, away, { position: n2.position });
  assert.deepEqual(back.pages()[0]?.removedIds, ['c']);
  assert.deepEqual(held(await connect(w, away)), ['d'], 'a snapshot leaves them out');

  await w.services.entries.update(
    local,
    entryInput({ id: 'a', spiffeId: id('/shop/web'), parentId: agentId('n1'), hint: 'x' }),
    0,
  );
  await w.addEntry({ id: 'e', spiffeId: id('/web'), parentId: agentId('n1') });
  await settled(w);
  assert.deepEqual(held(n1), ['b', 'e'], 'a change does not bring it back');
  await w.services.tenants.delete(local, 'shop', 'gone');
  await settled(w);
  assert.deepEqual(held(n1), ['a', 'b', 'e'], 'its names are free');
});

test('a change that concerns nobody connected costs no query per agent', async () => {
  await using w = await createServicesWorld();
  for (let index = 0; index < 20; index += 1)
    await connect(w, (await w.joinAgent(`n${index}`)).caller);
  let queries = 0;
  const { changes } = w.store.entries;
  Object.assign(w.store.entries, {
    changes: (...parameters: Parameters<typeof changes>) => {
      queries += 1;
      return changes(...parameters);
    },
  });
  await w.addEntry({ id: 'x', spiffeId: id('/x'), parentId: agentId('absent') });
  await settled(w);
  assert.equal(queries, 0);
  await w.addEntry({ id: 'y', spiffeId: id('/y'), parentId: agentId('n3') });
  await settled(w);
  assert.equal(queries, 1);
});

test('a change under a node set is read once and is one object for all its agents', async () => {
  await using w = await createServicesWorld();
  await w.addEntry({
    spiffeId: id('/nodes/edge'),
    parentId: server,
    selectors: [selector('node:zone:edge')],
  });
  const receivers: Receiver[] = [];
  for (let index = 0; index < 10; index += 1)
    receivers.push(await connect(w, (await w.joinAgent(`n${index}`, ['node:zone:edge'])).caller));
  let queries = 0;
  const { changes } = w.store.entries;
  Object.assign(w.store.entries, {
    changes: (...parameters: Parameters<typeof changes>) => {
      queries += 1;
      return changes(...parameters);
    },
  });
  await w.addEntry({ id: 'shared', spiffeId: id('/shared'), parentId: id('/nodes/edge') });
  await settled(w);
  assert.ok(receivers.every((receiver) => receiver.held.has('shared')));
  assert.equal(new Set(receivers.map((receiver) => receiver.pages().at(-1))).size, 1);
  assert.equal(queries, 1);
});

test('an agent that joins or leaves a node set gets its entries anew, also after an absence', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1', ['node:zone:edge']);
  await w.addEntry({
    id: 'set',
    spiffeId: id('/nodes/edge'),
    parentId: server,
    selectors: [selector('node:zone:core')],
  });
  await w.addEntry({ id: 'shared', spiffeId: id('/shared'), parentId: id('/nodes/edge') });
  await w.addEntry({ id: 'own', spiffeId: id('/own'), parentId: agentId('n1') });
  const first = await connect(w, caller);
  assert.deepEqual(held(first), ['own']);
  const set = entryInput({
    id: 'set',
    spiffeId: id('/nodes/edge'),
    parentId: server,
    selectors: [selector('node:zone:edge')],
  });
  await w.services.entries.update(local, set, 0);
  await settled(w);
  assert.deepEqual(held(first), ['own', 'shared']);
  const position = first.position as Position;
  first.connection?.closed();
  const back = await connect(w, caller, { position });
  assert.equal(back.pages().length, 0, 'nothing has changed');
  back.connection?.closed();
  await w.services.entries.update(local, { ...set, selectors: [selector('node:zone:core')] }, 0);
  const later = await connect(w, caller, { position });
  assert.ok(later.pages()[0]?.snapshotBegin);
  assert.deepEqual(held(later), ['own']);
});

test('a position gets the changes since, and a foreign or future position gets a snapshot', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  await w.addEntry({ id: 'a', spiffeId: id('/a'), parentId: agentId('n1') });
  await w.addEntry({ id: 'b', spiffeId: id('/b'), parentId: agentId('n1') });
  const first = await connect(w, caller);
  const position = first.position as Position;
  first.connection?.closed();
  await w.services.entries.delete(local, ['a']);
  await w.addEntry({ id: 'c', spiffeId: id('/c'), parentId: agentId('n1') });
  const back = await connect(w, caller, { position });
  assert.deepEqual(
    back
      .pages()
      .map(({ snapshotBegin, upserts, removedIds }) => [
        snapshotBegin,
        upserts.map((entry) => entry.id),
        removedIds,
      ]),
    [[false, ['c'], ['a']]],
  );
  for (const wrong of [
    { epoch: 'other', revision: position.revision },
    { epoch: position.epoch, revision: position.revision + 1000 },
  ])
    assert.ok((await connect(w, caller, { position: wrong })).pages()[0]?.snapshotBegin);
});

test('20,000 entries go in pages of at most 500, and a slow agent is neither flooded nor forgotten', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const many = Array.from({ length: 20_000 }, (_, index) =>
    entryInput({ id: `e${index}`, spiffeId: id(`/w/${index}`), parentId: agentId('n1') }),
  );
  await w.services.entries.apply(local, many, { prune: false, dryRun: false });
  const slow = await connect(w, caller, {}, true);
  assert.equal(
    slow.messages.length,
    1,
    'nothing after the first that the transport could not take',
  );
  for (let turn = 0; turn < 5; turn += 1) {
    slow.connection?.drained();
    await settle();
  }
  assert.equal(slow.messages.length, 6);
  await w.services.entries.delete(local, ['e0', 'e19999']);
  await w.addEntry({ id: 'late', spiffeId: id('/late'), parentId: agentId('n1') });
  slow.full = false;
  slow.connection?.drained();
  await until(async () => {
    await settled(w);
    return slow.held.size === 19_999;
  });
  assert.equal(slow.held.size, 19_999);
  assert.ok(slow.held.has('late') && !slow.held.has('e0'));
  assert.ok(slow.pages().every(({ upserts }) => upserts.length <= 500));
});

test('a page stays under about one megabyte', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const placeholders = {
    'unix.user': Array.from({ length: 1000 }, (_, index) => `${'v'.repeat(80)}${index}`),
  };
  for (let index = 0; index < 30; index += 1)
    await w.addEntry({
      id: `t${index}`,
      spiffeId: id(`/t${index}/{unix.user}`),
      parentId: agentId('n1'),
      placeholders,
    });
  const receiver = await connect(w, caller);
  assert.equal(receiver.held.size, 30);
  assert.ok(receiver.pages().length >= 3);
  assert.ok(receiver.pages().every((page) => JSON.stringify(page.upserts).length < 1_200_000));
});
