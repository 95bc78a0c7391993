import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCanonical } from '../../../../src/domain/index.ts';
import { eventually, rotationOf } from '../../../support/mesh.ts';
import type { SimAgent } from '../../../support/sim-agent.ts';
import { beginCanary, canaryMesh, codesOf, notesOf, type FirstReport } from './canary-support.ts';

const share = 0.4;
const billion = 1_000_000_000;

const reportOf = (agent: SimAgent, succeeded: number, failed: number): FirstReport => ({
  agent,
  succeeded,
  failed,
});
const idOf = ({ credential }: SimAgent): string => credential.spiffeId;
const idsOf = (agents: readonly SimAgent[]): readonly string[] => agents.map(idOf).sort();

test('a lying minority does not pass a failing canary, and who has gone has no vote', async (context) => {
  const world = await canaryMesh(context, 8);
  const { server, agents, under } = world;
  const [gone, evicted, banned, ...honest] = agents.slice(0, 6) as [
    SimAgent,
    SimAgent,
    SimAgent,
    ...SimAgent[],
  ];
  const liars = agents.slice(6);
  const holdSeconds = 2;
  const canary = await beginCanary(world, { steps: [{ share }], holdSeconds }, [
    ...[gone, evicted, banned, ...honest].map((agent) => reportOf(agent, 50, 50)),
    ...liars.map((agent) => reportOf(agent, billion, 0)),
  ]);
  await eventually(
    'the time is over in which it is watched',
    async () => (await rotationOf(server).status()).at > canary.activatedAt + holdSeconds + 2,
  );
  const held = (await notesOf(server)).find(({ code }) => code === 'CANARY_FAILING');
  assert.deepEqual([...(held?.agents ?? [])].sort(), idsOf([gone, evicted, banned, ...honest]));

  // their workload has ended, or they may not come back: their failures hold nothing
  gone.depart('web');
  await server.admin('Agents/EvictAgent', { spiffeId: idOf(evicted), reason: 'gone' });
  await server.admin('Agents/BanAgent', { spiffeId: idOf(banned), reason: 'stolen' });
  await eventually('only those who stand are named', async () => {
    const note = (await notesOf(server)).find(({ code }) => code === 'CANARY_FAILING');
    return [...(note?.agents ?? [])].sort().join() === idsOf(honest).join();
  });

  // three that are well now outvote one that reports a billion failures
  liars[0]?.reportHandshakes(canary.subjectKeyId, billion, billion);
  for (const agent of honest) agent.reportHandshakes(canary.subjectKeyId, 10_000, 50);
  const standing = [gone, ...honest, ...liars];
  await eventually(
    'it signs for all',
    async () => (await under(canary.id, standing)).length === standing.length,
  );
});

test('a node that reports a billion failures does not hold two others, and is named', async (context) => {
  const world = await canaryMesh(context, 5);
  const [liar, ...honest] = world.agents.slice(0, 3) as [SimAgent, ...SimAgent[]];
  await beginCanary(world, { steps: [{ share }], holdSeconds: 3_600 }, [
    reportOf(liar, 0, billion),
    ...honest.map((agent) => reportOf(agent, 100, 0)),
  ]);
  const notes = await notesOf(world.server);
  const codes = notes.map(({ code }) => code);
  assert.ok(!codes.includes('CANARY_FAILING'), codes.join());
  assert.ok(codes.includes('WAITING_CANARY'), codes.join());
  assert.deepEqual(notes.find(({ code }) => code === 'CANARY_NODES_FAILING')?.agents, [idOf(liar)]);
});

test('a single reporter holds a canary until an operator disregards it, on record', async (context) => {
  const world = await canaryMesh(context, 4);
  const { server, agents, under } = world;
  const liar = agents[0] as SimAgent;
  const canary = await beginCanary(world, { steps: [{ share }], holdSeconds: 1 }, [
    reportOf(liar, 0, billion),
  ]);
  const note = (await notesOf(server)).find(({ code }) => code === 'CANARY_FAILING');
  assert.deepEqual(note?.agents, [idOf(liar)]);
  const disregard = (reason: string) =>
    server.admin('Authorities/ContinueRotation', {
      id: canary.id,
      reason,
      disregardedAgents: [idOf(liar)],
    });
  await assert.rejects(disregard(''), { code: 'INVALID_REQUEST' });
  assert.ok((await codesOf(server)).includes('CANARY_FAILING'));
  await disregard('this node lies');
  await eventually(
    'it signs for all',
    async () => (await under(canary.id)).length === agents.length,
  );
  const { records } = await server.admin('Audit/ListAuditRecords', {
    page: { size: 500 },
    kind: 'rotation.continued',
  });
  const details = records.map(({ canonical }) => readCanonical(canonical)?.detail);
  assert.deepEqual(
    details.map(({ disregarded, reason }: any) => ({ disregarded, reason })),
    [{ disregarded: [idOf(liar)], reason: 'this node lies' }],
  );
});

test('failures that were reported before the window do not hold a canary', async (context) => {
  const world = await canaryMesh(context, 4, { windowSeconds: 2 });
  const { server, agents, under } = world;
  const reporter = agents[0] as SimAgent;
  const canary = await beginCanary(world, { steps: [{ share }], holdSeconds: 3_600 }, [
    reportOf(reporter, 80, 20),
  ]);
  let failed = 20;
  let reportedAt = 0;
  await eventually('it is held while failures are reported', async () => {
    const { at, notes } = await rotationOf(server).status();
    if (at !== reportedAt) reporter.reportHandshakes(canary.subjectKeyId, 80, (failed += 20));
    reportedAt = at;
    return notes.some(({ code }) => code === 'CANARY_FAILING');
  });
  await eventually('it waits for nothing but its time', async () => {
    const codes = await codesOf(server);
    return codes.includes('WAITING_CANARY') && codes.includes('CANARY_UNREPORTED');
  });
  assert.ok((await under(canary.id)).length <= agents.length);
});
