import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import type { AgentCaller, SyncConnection } from '../../../../src/services/index.ts';
import {
  agentId,
  createServicesWorld,
  id,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';

type Reported = Parameters<SyncConnection['consumers']>[0]['consumers'][number];

const consumer = (name: string, over: Partial<Reported> = {}): Reported => ({
  id: name,
  kind: 'workload-stream',
  spiffeId: id('/web'),
  authoritySetDigest: 'ab'.repeat(32),
  jwtSetDigest: '',
  issuerSetDigest: '',
  capabilities: [],
  state: 'confirmed',
  reason: '',
  since: 1,
  description: 'x',
  departedUntil: 0,
  ...over,
});

/** A new session of the agent, and its first report. */
async function session(
  w: ServicesWorld,
  caller: AgentCaller,
  consumers: readonly Reported[],
): Promise<SyncConnection> {
  const connection = await w.services.sync.open(
    caller,
    {
      protocolVersion: 1,
      agentVersion: '1',
      capabilities: [],
      position: undefined,
      bundleSequence: 1,
      survivedOutageSeconds: 0,
      logCheckpoint: '',
    },
    { send: () => true, close: () => {} },
  );
  await connection.consumers({ snapshot: true, consumers, removedIds: [] });
  return connection;
}

/** An agent with a leaf for /web that ends in 100 s. */
async function agentWithLeaf(w: ServicesWorld): Promise<AgentCaller> {
  const { caller } = await w.joinAgent('n1');
  const entryId = await w.addEntry({
    spiffeId: id('/web'),
    parentId: agentId('n1'),
    x509TtlSeconds: 100,
  });
  const [made] = await w.services.svids.signX509(caller, [
    {
      requestId: uuidv7(),
      entryId,
      csrDer: createCsr(newKey()),
      ttlSeconds: 0,
      selectors: [{ type: 'unix', value: 'uid:1000' }],
      replacesSerial: '',
    },
  ]);
  assert.ok(made?.ok);
  return caller;
}

const consumersOf = async (w: ServicesWorld): Promise<readonly string[]> =>
  (await w.store.agents.consumers(agentId('n1')))
    .map((each) => `${each.id} ${each.state}${each.lostUntil === undefined ? '' : ' lost'}`)
    .sort();

test('a workload that a new session does not know counts until its leaf ends', async () => {
  await using w = await createServicesWorld();
  const caller = await agentWithLeaf(w);
  await session(w, caller, [consumer('old-web')]);
  await session(w, caller, []);
  assert.deepEqual(await consumersOf(w), ['old-web confirmed lost']);
  const [lost] = await w.store.agents.consumers(agentId('n1'));
  const left = (lost?.lostUntil ?? 0) - w.clock.now();
  assert.ok(left > 90 && left <= 100, `${left} s`);
  w.clock.advance(50_000);
  await session(w, caller, []);
  assert.deepEqual(await consumersOf(w), ['old-web confirmed lost'], 'yet another session');
  w.clock.advance(51_000);
  await session(w, caller, []);
  assert.deepEqual(await consumersOf(w), []);
});

test('a workload that the new session names, under another line or as departed, is not lost', async () => {
  await using w = await createServicesWorld();
  const caller = await agentWithLeaf(w);
  await session(w, caller, [consumer('old-web')]);
  await session(w, caller, [consumer('departed 1', { state: 'pending' })]);
  assert.deepEqual(await consumersOf(w), ['departed 1 pending']);
});

test('a consumer that was taken away within its session, or whose leaf has ended, is forgotten', async () => {
  await using w = await createServicesWorld();
  const caller = await agentWithLeaf(w);
  const first = await session(w, caller, [
    consumer('old-web'),
    consumer('none', { spiffeId: id('/none') }),
  ]);
  await first.consumers({ snapshot: false, consumers: [], removedIds: ['old-web'] });
  await session(w, caller, []);
  assert.deepEqual(await consumersOf(w), []);
});
