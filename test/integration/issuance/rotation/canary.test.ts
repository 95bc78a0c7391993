import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { eventually, rotationOf } from '../../../support/mesh.ts';
import {
  beginCanary,
  canaryMesh,
  codesOf,
  insideShare,
  type CanaryMesh,
} from './canary-support.ts';

/** Held where it begins: one agent has reported failed handshakes. */
const begin = (
  mesh: CanaryMesh,
  steps: readonly object[],
  holdSeconds: number,
): ReturnType<typeof beginCanary> =>
  beginCanary(mesh, { steps, holdSeconds }, [
    { agent: mesh.agents[0]!, succeeded: 80, failed: 20 },
  ]);

test('failed handshakes hold a new intermediate at its share of the nodes until they end', async (context) => {
  const world = await canaryMesh(context, 12);
  const { server, agents, under } = world;
  const share = 0.4;
  const canary = await begin(world, [{ share }], 2);
  const inside = agents.filter((agent) => insideShare(agent, share)).map(({ name }) => name);
  assert.ok(inside.length > 0 && inside.length < agents.length);
  assert.deepEqual(await under(canary.id), inside);
  await eventually(
    'the time is over in which it is watched',
    async () => (await rotationOf(server).status()).at > canary.activatedAt + 4,
  );
  assert.ok((await codesOf(server)).includes('CANARY_FAILING'));
  assert.deepEqual(await under(canary.id), inside);
  // the newest report of a consumer counts
  agents[0]?.reportHandshakes(canary.subjectKeyId, 10_000, 20);
  await eventually(
    'it signs for all',
    async () => (await under(canary.id)).length === agents.length,
  );
  await eventually(
    'the rotation is over',
    async () => (await rotationOf(server).status()).operations.length === 0,
  );
});

test('a new intermediate signs first for nodes with a selector, and then for the rest', async (context) => {
  const world = await canaryMesh(context, 6, {
    selectorsOf: (index) => (index < 2 ? ['zone:canary'] : []),
  });
  const { agents, under } = world;
  const canary = await begin(world, [{ selectors: ['zone:canary'] }], 3);
  assert.deepEqual(await under(canary.id), ['node-0', 'node-1']);
  agents[0]?.reportHandshakes(canary.subjectKeyId, 10_000, 20);
  await eventually(
    'it signs for all',
    async () => (await under(canary.id)).length === agents.length,
  );
});

test('failed renewals hold a new intermediate at its share of the nodes until they end', async (context) => {
  // between signature and record it is, for an instant, one that may not sign: what it signed is
  // withheld, and the others go on
  let broken = '';
  let path = '';
  const state = (name: string): void => {
    const database = new DatabaseSync(path, { timeout: 10_000 });
    database.prepare('UPDATE authorities SET state = ? WHERE id = ?').run(name, broken);
    database.close();
  };
  const world = await canaryMesh(context, 8, {
    step: (name) => {
      if (broken !== '' && name === 'signed') state('tainted');
      if (broken !== '' && name === 'recorded') state('active');
    },
  });
  const { server, agents, under } = world;
  path = join(server.dir, 'data', 'meshca.db');
  const share = 0.5;
  const holdSeconds = 3;
  const canary = await begin(world, [{ share }], holdSeconds);
  const inside = agents.filter((agent) => insideShare(agent, share));
  assert.ok(inside.length > 0 && inside.length < agents.length);
  broken = canary.id;
  const entryIds = new Map<string, string>(
    (await server.admin('Entries/ListEntries', { page: { size: 100 } })).entries.map(
      ({ parentId, id }) => [parentId, id],
    ),
  );
  for (const agent of agents) {
    const renewed = await agent.renew(entryIds.get(agent.credential.spiffeId) as string).then(
      ({ authorityId }) => authorityId,
      (error: Error) => error.message,
    );
    if (inside.includes(agent)) assert.match(renewed, /INTERNAL|OBJECT_NOT_IN_LOG/);
    else assert.notEqual(renewed, canary.id);
  }
  broken = '';
  // handshakes are well: what holds it now is what came of its certificates
  agents[0]?.reportHandshakes(canary.subjectKeyId, 10_000, 20);
  await eventually('it is held for that', async () =>
    (await codesOf(server)).includes('CANARY_RENEWALS'),
  );
  await eventually(
    'the time is over in which it is watched',
    async () => (await rotationOf(server).status()).at > canary.activatedAt + holdSeconds + 2,
  );
  const held = (await rotationOf(server).byId(canary.id)).authority;
  assert.deepEqual([held!.state, JSON.parse(held!.scopeJson)], ['active', { share }]);
  assert.ok((await codesOf(server)).includes('CANARY_RENEWALS'));
  // enough good ones, and it is no worse than is accepted
  await eventually(
    'it signs for all',
    async () => (await under(canary.id)).length === agents.length,
  );
  await eventually(
    'the rotation is over',
    async () => (await rotationOf(server).status()).operations.length === 0,
  );
});
