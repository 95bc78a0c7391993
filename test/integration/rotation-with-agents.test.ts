import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { credentials, Metadata } from '@grpc/grpc-js';
import { silentLogger } from '../../src/common/runtime/index.ts';
import { sha256Hex } from '../../src/common/x509/index.ts';
import { workloadContract } from '../../src/common/wire/index.ts';
import { authorizeAny, connectTls, createTlsServer, JwtSource, X509Source } from '../../src/workload/index.ts';
import { startAgent, type RunningAgent } from '../../sidecar/compose.ts';
import { agentConfigSchema } from '../../sidecar/config.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../support/server.ts';
import { listen } from '../support/workload-lib.ts';
import { defer } from './agent-fake-server.ts';

const myUid = `unix:uid:${process.getuid?.() ?? 0}`;
const quick = {
  issuance: { minimumTtlSeconds: 2, defaultTtlSeconds: 6, maximumTtlSeconds: 60, agentTtlSeconds: 60, serverTtlSeconds: 60, jwtMaximumTtlSeconds: 60, jwtDefaultTtlSeconds: 30, bundleRefreshHintSeconds: 1 },
  rotation: { marginSeconds: 60, retireMarginSeconds: 1, jwksCacheSeconds: 1 },
};

async function eventually(what: string, condition: () => boolean | Promise<boolean>, seconds = 15): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    if (Date.now() > end) assert.fail(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}

interface Node {
  readonly socketPath: string;
  readonly agentId: string;
  agent: RunningAgent;
  start(): Promise<void>;
}

async function node(context: TestContext, server: TestServer, name: string): Promise<Node> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-rot-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: name });
  const config = agentConfigSchema.parse({
    trustDomain: testTrustDomain, serverAddress: `127.0.0.1:${server.server.port}`, dataDir: join(directory, 'd'), bootstrap: { rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer) }, attestation: { joinToken: token },
    workloadApi: { socketPath: join(directory, 'w') }, localApi: { socketPath: join(directory, 'l') }, ops: { port: 0 }, connection: { backoffBaseMs: 50, backoffCapMs: 200 },
  });
  const made = {
    socketPath: join(directory, 'w'), agentId, agent: undefined as unknown as RunningAgent,
    start: async () => {
      made.agent = await startAgent({ config, logger: silentLogger, version: 'test', uid: process.getuid?.() ?? 0 });
    },
  };
  await made.start();
  defer(context, () => made.agent[Symbol.asyncDispose]());
  await eventually('the session', () => made.agent.status().connected === true && made.agent.status().synced === true);
  await server.admin('Entries/CreateEntries', { entries: [{ spiffeId: `spiffe://${testTrustDomain}/${name}`, parentId: agentId, selectors: [myUid] }] });
  await eventually('the entry', () => made.agent.status().entries === 1);
  return made;
}

const authorities = async (server: TestServer): Promise<readonly any[]> => (await server.admin('Authorities/GetRotationStatus')).authorities;
const inState = async (server: TestServer, kind: string, state: string): Promise<any> => (await authorities(server)).findLast(({ authority }) => authority.kind === kind && authority.state === state);
const activeId = async (server: TestServer, kind: string): Promise<string> => (await inState(server, kind, 'active')).authority.id;
const consumersOf = async (server: TestServer, agentId: string): Promise<readonly any[]> => (await server.admin('Agents/GetAgent', { spiffeId: agentId })).consumers;

async function rotate(server: TestServer, kind: string): Promise<void> {
  const before = await activeId(server, kind);
  await server.admin('Authorities/RotateAuthorities', { kind });
  await eventually(`a new ${kind} authority is active`, async () => (await activeId(server, kind)) !== before);
}

/** Handshakes from one source to the other, without a pause, until stopped. */
async function traffic(context: TestContext, from: X509Source, to: X509Source): Promise<() => Promise<{ handshakes: number; failed: string[] }>> {
  const tls = createTlsServer(to, { authorize: authorizeAny() }, (socket) => {
    socket.on('error', () => {});
    socket.end('hello');
  });
  const port = await listen(tls);
  defer(context, async () => void tls.close());
  const failed: string[] = [];
  let handshakes = 0;
  let stopped = false;
  const running = (async () => {
    while (!stopped) {
      try {
        const socket = await connectTls(from, { expect: authorizeAny(), host: '127.0.0.1', port });
        const text = await new Promise<string>((resolve, reject) => {
          let all = '';
          socket.on('data', (bytes: Buffer) => { all += bytes.toString(); });
          socket.on('error', reject);
          socket.on('close', () => resolve(all));
        });
        if (text !== 'hello') failed.push('cut off');
      } catch (thrown) {
        failed.push(String(thrown));
      }
      handshakes += 1;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  return async () => {
    stopped = true;
    await running;
    return { handshakes, failed };
  };
}

test('intermediate, JWT key and root rotate under traffic of real workloads on two nodes, proven by what they loaded, and no handshake fails', async (context) => {
  const server = await startTestServer({ config: quick });
  defer(context, () => server[Symbol.asyncDispose]());
  const [one, two] = [await node(context, server, 'one'), await node(context, server, 'two')];
  const [client, peer] = [await X509Source.connect({ socketPath: one.socketPath }), await X509Source.connect({ socketPath: two.socketPath, crl: 'enforce' })];
  const jwt = await JwtSource.connect({ socketPath: one.socketPath });
  for (const source of [client, peer, jwt]) defer(context, () => source.close());
  const stop = await traffic(context, client, peer);
  await rotate(server, 'issuing');
  await rotate(server, 'jwt');
  const [rootBefore, issuingBefore] = [await activeId(server, 'root'), await activeId(server, 'issuing')];
  await rotate(server, 'root');
  await eventually('an intermediate under the new root signs', async () => {
    const { authority } = await inState(server, 'issuing', 'active');
    return authority.parentId !== rootBefore && authority.id !== issuingBefore;
  });
  const issuing = (await inState(server, 'issuing', 'active')).authority;
  await eventually('the workloads use it', () => client.svid.leaf.authorityKeyId === issuing.subjectKeyId && peer.svid.leaf.authorityKeyId === issuing.subjectKeyId);
  const { handshakes, failed } = await stop();
  assert.deepEqual(failed, []);
  assert.ok(handshakes > 50, `only ${handshakes} handshakes`);
  assert.equal((await jwt.validate((await jwt.fetch('api')).token, 'api')).id.toString(), `spiffe://${testTrustDomain}/one`);
  // all three kinds of sets are reported, and confirmed
  const consumers = await consumersOf(server, one.agentId);
  assert.deepEqual(consumers.map(({ kind, state }) => `${kind} ${state}`).sort(), ['agent confirmed', 'workload-stream confirmed', 'workload-stream confirmed']);
});

test('a client that reads the new root and does not load it holds the rotation up by name; gone, it counts until its certificate has expired', async (context) => {
  const server = await startTestServer({ config: quick });
  defer(context, () => server[Symbol.asyncDispose]());
  const { socketPath, agentId } = await node(context, server, 'one');
  const api = new (workloadContract().packages.SpiffeWorkloadAPI)(`unix:${socketPath}`, credentials.createInsecure());
  defer(context, () => api.close());
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  metadata.set('meshca-client', 'client-that-never-says');
  const stream = api.FetchX509SVID({}, metadata);
  let messages = 0;
  stream.on('data', () => { messages += 1; });
  stream.on('error', () => {});
  await eventually('the first message', () => messages > 0);
  await eventually('its line', async () => (await consumersOf(server, agentId)).some(({ kind, state }) => kind === 'workload-stream' && state === 'pending'));
  const before = await activeId(server, 'root');
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await eventually('it is named', async () => {
    const laggards = (await inState(server, 'root', 'published'))?.confirmation?.laggards ?? [];
    return laggards.length === 1 && laggards[0].description.startsWith(`FetchX509SVID pid ${process.pid} uid ${process.getuid?.() ?? 0}`) && laggards[0].spiffeId === `spiffe://${testTrustDomain}/one`;
  });
  const left = Date.now();
  stream.cancel();
  await eventually('it has left', async () => (await consumersOf(server, agentId)).some(({ reason }) => reason.startsWith('disconnected with a certificate in hand')));
  assert.equal(await activeId(server, 'root'), before);
  await eventually('the rotation goes on without it', async () => (await activeId(server, 'root')) !== before, 20);
  assert.ok(Date.now() - left > 2_000, 'not before its certificate, of 6 s, has expired');
});

test('tainting an intermediate makes the agent and its workloads renew within the window, and each replacement is proven by name', async (context) => {
  const server = await startTestServer({ config: { ...quick, issuance: { ...quick.issuance, defaultTtlSeconds: 60, maximumTtlSeconds: 120, agentTtlSeconds: 120 } } });
  defer(context, () => server[Symbol.asyncDispose]());
  const { socketPath, agentId, agent } = await node(context, server, 'one');
  const source = await X509Source.connect({ socketPath });
  defer(context, () => source.close());
  const [serial, agentSerial] = [source.svid.serial, (await server.admin('Agents/GetAgent', { spiffeId: agentId })).agent.serial as string];
  const stolen = await activeId(server, 'issuing');
  await server.admin('Authorities/TaintAuthority', { id: stolen, windowSeconds: 4, reason: 'stolen' });
  const tainted = Date.now();
  await eventually('the workload holds a new one', () => source.svid.serial !== serial);
  await eventually('so does the agent', async () => (await server.admin('Agents/GetAgent', { spiffeId: agentId })).agent.serial !== agentSerial);
  assert.ok(Date.now() - tainted < 12_000);
  assert.notEqual(source.svid.leaf.authorityKeyId, (await authorities(server)).find(({ authority }) => authority.id === stolen).authority.subjectKeyId);
  await eventually('the old ones are known as replaced', async () => {
    const [old, oldAgent] = await Promise.all([serial, agentSerial].map((each) => server.admin('Certificates/GetCertificate', { serial: each })));
    return old.replacementConfirmedAt > 0 && oldAgent.replacedBy !== '';
  });
  assert.equal(agent.status().connected, true);
});

test('an agent that sleeps through two rotations of the root comes back unattended, and its workloads with it', async (context) => {
  const server = await startTestServer({ config: { ...quick, issuance: { ...quick.issuance, agentTtlSeconds: 8, defaultTtlSeconds: 4, serverTtlSeconds: 8 } } });
  defer(context, () => server[Symbol.asyncDispose]());
  const [sleeper, awake] = [await node(context, server, 'one'), await node(context, server, 'two')];
  const sources = await Promise.all([sleeper, awake].map(({ socketPath }) => X509Source.connect({ socketPath, backoff: { initialMs: 20, maximumMs: 100 } })));
  const [source, other] = sources as [X509Source, X509Source];
  for (const each of sources) defer(context, () => each.close());
  await sleeper.agent[Symbol.asyncDispose]();
  for (const _ of [1, 2]) {
    const before = await activeId(server, 'root');
    await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
    // an absent agent counts until what was issued through it has expired
    await eventually('a new root', async () => (await activeId(server, 'root')) !== before, 30);
    await eventually('an intermediate under it', async () => (await inState(server, 'issuing', 'active')).authority.parentId === (await activeId(server, 'root')), 30);
  }
  await eventually('the first root is gone', async () => (await server.admin('Authorities/GetBundle')).rootsDer.every((der: Buffer) => !der.equals(server.rootsDer[0] as Buffer)), 30);
  const roots = (await server.admin('Authorities/GetBundle')).rootsDer as Buffer[];
  await sleeper.start();
  await eventually('the session', () => sleeper.agent.status().connected === true, 20);
  await eventually('the roots of now at its workload', () => roots.at(-1)?.equals(source.bundles.get(testTrustDomain)?.at(-1) as Buffer) === true, 20);
  const { handshakes, failed } = await traffic(context, source, other).then(async (stop) => {
    await new Promise((resolve) => setTimeout(resolve, 300));
    return stop();
  });
  assert.deepEqual(failed, []);
  assert.ok(handshakes > 3);
});
