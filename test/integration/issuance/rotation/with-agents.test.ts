import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { credentials, Metadata } from '@grpc/grpc-js';
import { workloadContract } from '../../../../src/common/wire/index.ts';
import type { X509SVIDResponse__Output } from '../../../../src/common/wire/generated/X509SVIDResponse.ts';
import { JwtSource, X509Source } from '../../../../src/workload/index.ts';
import {
  eventually,
  quickLives as quick,
  rotationOf,
  startNode,
  startTraffic,
  type MeshNode,
} from '../../../support/mesh.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../../../support/server.ts';
import { patienceMs } from '../../../support/until.ts';
import { defer } from '../../../support/agent-fake-server.ts';

async function node(context: TestContext, server: TestServer, name: string): Promise<MeshNode> {
  const started = await startNode(server, name);
  defer(context, () => started[Symbol.asyncDispose]());
  return started;
}

test('all authorities rotate under traffic of real workloads without a failed handshake', async (context) => {
  const server = await startTestServer({ config: quick });
  defer(context, () => server[Symbol.asyncDispose]());
  const { active, activeId, consumersOf, rotate } = rotationOf(server);
  const [one, two] = [await node(context, server, 'one'), await node(context, server, 'two')];
  const [client, peer] = [
    await X509Source.connect({ socketPath: one.socketPath }),
    await X509Source.connect({ socketPath: two.socketPath, crl: 'enforce' }),
  ];
  const jwt = await JwtSource.connect({ socketPath: one.socketPath });
  for (const source of [client, peer, jwt]) defer(context, () => source.close());
  const stop = await startTraffic(client, peer);
  await rotate('issuing');
  await rotate('jwt');
  const [rootBefore, issuingBefore] = [await activeId('root'), await activeId('issuing')];
  await rotate('root');
  await eventually('an intermediate under the new root signs', async () => {
    const authority = await active('issuing');
    return authority!.parentId !== rootBefore && authority!.id !== issuingBefore;
  });
  const issuing = await active('issuing');
  await eventually(
    'the workloads use it',
    () =>
      client.svid.leaf.authorityKeyId === issuing!.subjectKeyId &&
      peer.svid.leaf.authorityKeyId === issuing!.subjectKeyId,
  );
  const { handshakes, failed } = await stop();
  assert.deepEqual(failed, []);
  assert.ok(handshakes > 0);
  assert.equal(
    (await jwt.validate((await jwt.fetch('api')).token, 'api')).id.toString(),
    `spiffe://${testTrustDomain}/one`,
  );
  // all three kinds of sets are reported, and confirmed
  const consumers = await consumersOf(one.agentId);
  assert.deepEqual(consumers.map(({ kind, state }) => `${kind} ${state}`).sort(), [
    'agent confirmed',
    'workload-stream confirmed',
    'workload-stream confirmed',
  ]);
});

test('a client without the new root delays the rotation by name, until its end', async (context) => {
  const server = await startTestServer({ config: quick });
  defer(context, () => server[Symbol.asyncDispose]());
  const { activeId, inState, consumersOf } = rotationOf(server);
  const { socketPath, agentId } = await node(context, server, 'one');
  const api = new (workloadContract().packages.SpiffeWorkloadAPI)(
    `unix:${socketPath}`,
    credentials.createInsecure(),
  );
  defer(context, () => api.close());
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  metadata.set('meshca-client', 'client-that-never-says');
  const stream = api.FetchX509SVID({}, metadata);
  let messages = 0;
  let heldUntil = 0;
  stream.on('data', ({ svids }: X509SVIDResponse__Output) => {
    messages += 1;
    heldUntil = new X509Certificate(svids[0]?.x509Svid as Buffer).validToDate.getTime();
  });
  stream.on('error', () => {});
  await eventually('the first message', () => messages > 0);
  await eventually('its line', async () =>
    (await consumersOf(agentId)).some(
      ({ kind, state }) => kind === 'workload-stream' && state === 'pending',
    ),
  );
  const before = await activeId('root');
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await eventually('it is named', async () => {
    const laggards = (await inState('root', 'published'))?.confirmation?.laggards ?? [];
    return (
      laggards.length === 1 &&
      laggards[0]!.description.startsWith(
        `FetchX509SVID pid ${process.pid} uid ${process.getuid?.() ?? 0}`,
      ) &&
      laggards[0]!.spiffeId === `spiffe://${testTrustDomain}/one`
    );
  });
  stream.cancel();
  await eventually('it has left', async () =>
    (await consumersOf(agentId)).some(({ reason }) =>
      reason.startsWith('disconnected with a certificate in hand'),
    ),
  );
  assert.equal(await activeId('root'), before);
  await eventually(
    'the rotation goes on without it',
    async () => (await activeId('root')) !== before,
  );
  assert.ok(Date.now() > heldUntil, 'not before its certificate has expired');
});

test('after a taint all renew within the window, and each replacement is proven', async (context) => {
  // nothing is renewed for its age before patience ends: what is renewed is renewed for the taint
  const life = 4 * (patienceMs / 1000);
  const server = await startTestServer({
    config: {
      ...quick,
      issuance: {
        ...quick.issuance,
        defaultTtlSeconds: life,
        maximumTtlSeconds: life,
        agentTtlSeconds: life,
      },
    },
  });
  defer(context, () => server[Symbol.asyncDispose]());
  const { activeId, byId } = rotationOf(server);
  const { socketPath, agentId, agent } = await node(context, server, 'one');
  const source = await X509Source.connect({ socketPath });
  defer(context, () => source.close());
  const [serial, agentSerial] = [
    source.svid.serial,
    (await server.admin('Agents/GetAgent', { spiffeId: agentId })).agent!.serial as string,
  ];
  const stolen = await activeId('issuing');
  await server.admin('Authorities/TaintAuthority', {
    id: stolen,
    windowSeconds: 4,
    reason: 'stolen',
  });
  await eventually('the workload holds a new one', () => source.svid.serial !== serial);
  await eventually(
    'so does the agent',
    async () =>
      (await server.admin('Agents/GetAgent', { spiffeId: agentId })).agent!.serial !== agentSerial,
  );
  assert.notEqual(source.svid.leaf.authorityKeyId, (await byId(stolen)).authority.subjectKeyId);
  await eventually('the old ones are known as replaced', async () => {
    const [old, oldAgent] = await Promise.all(
      [serial, agentSerial].map((each) =>
        server.admin('Certificates/GetCertificate', { serial: each }),
      ),
    );
    return old!.replacementConfirmedAt > 0 && oldAgent!.replacedBy !== '';
  });
  assert.equal(agent.status().connected, true);
});
