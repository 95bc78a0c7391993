import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { sha256Hex } from '../../../src/common/x509/index.ts';
import { workloadContract } from '../../../src/common/wire/index.ts';
import type { JWTSVIDResponse__Output } from '../../../src/common/wire/generated/JWTSVIDResponse.ts';
import type { SpiffeWorkloadAPIClient } from '../../../src/common/wire/generated/SpiffeWorkloadAPI.ts';
import type { X509SVIDResponse__Output } from '../../../src/common/wire/generated/X509SVIDResponse.ts';
import { startAgent, type RunningAgent } from '../../../sidecar/compose.ts';
import { agentEnvironment } from '../../support/agent-environment.ts';
import { agentConfigSchema } from '../../../sidecar/config.ts';
import { freePort } from '../../support/ports.ts';
import { backupOf, putBack } from '../../support/restore.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../../support/server.ts';
import { defer } from '../../support/agent-fake-server.ts';
import { past, until } from '../../support/until.ts';

const myUid = `unix:uid:${process.getuid?.() ?? 0}`;

async function agentOf(
  context: TestContext,
  server: TestServer,
  name: string,
): Promise<{
  agent: RunningAgent;
  client: SpiffeWorkloadAPIClient;
  agentId: string;
  dataDir: string;
  start: () => Promise<RunningAgent>;
}> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-real-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: name });
  const config = agentConfigSchema.parse({
    trustDomain: testTrustDomain,
    serverAddress: `127.0.0.1:${server.server.port}`,
    dataDir: join(directory, 'd'),
    bootstrap: { rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer) },
    attestation: { joinToken: { token } },
    workloadApi: { socketPath: join(directory, 'w') },
    localApi: { socketPath: join(directory, 'l') },
    ops: { port: 0 },
    connection: { backoffBaseMs: 50, backoffCapMs: 200 },
  });
  const start = async (): Promise<RunningAgent> => {
    const agent = await startAgent(agentEnvironment(config));
    defer(context, () => agent[Symbol.asyncDispose]());
    return agent;
  };
  const agent = await start();
  const client = new (workloadContract().packages.SpiffeWorkloadAPI)(
    `unix:${join(directory, 'w')}`,
    credentials.createInsecure(),
  );
  defer(context, () => client.close());
  return { agent, client, agentId, dataDir: config.dataDir, start };
}

const header = (): Metadata => {
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  return metadata;
};

test('with a real server and agent an entry becomes an identity, is renewed, withdrawn and banned', async (context) => {
  const server = await startTestServer({
    config: {
      listen: { port: await freePort() },
      issuance: { minimumTtlSeconds: 2, agentTtlSeconds: 20, defaultTtlSeconds: 15 },
    },
  });
  defer(context, () => server[Symbol.asyncDispose]());
  const { agent, client, agentId } = await agentOf(context, server, 'node-1');
  await until(
    () => agent.status().connected === true && agent.status().synced === true,
    'the session',
  );
  assert.equal(agent.status().spiffeId, agentId);

  const responses: X509SVIDResponse__Output[] = [];
  let ended: ServiceError | undefined;
  const spiffeId = `spiffe://${testTrustDomain}/web`;
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [{ spiffeId, parentId: agentId, selectors: [myUid], x509TtlSeconds: 15 }],
  });
  const entryId = results[0]!.entry!.id;
  await until(() => agent.status().entries === 1, 'the entry');
  const stream = client.FetchX509SVID({}, header());
  stream.on('data', (response) => responses.push(response));
  stream.on('error', (error: ServiceError) => {
    ended = error;
  });
  await until(() => responses.length >= 2, 'a renewal');
  const serials = responses.map(({ svids }) =>
    new X509Certificate(svids[0]?.x509Svid as Buffer).serialNumber.toLowerCase(),
  );
  assert.equal(new Set(serials).size, serials.length);
  await until(() => agent.status().connected === true, 'the session');
  const jwt = await new Promise<JWTSVIDResponse__Output>((resolve, reject) =>
    client.FetchJWTSVID({ audience: ['api'] }, header(), (error, value) =>
      error ? reject(error) : resolve(value as JWTSVIDResponse__Output),
    ),
  );
  assert.equal(jwt.svids[0]?.spiffeId, spiffeId);

  // the first certificate is proven as replaced, by name
  let replacedBy = '';
  await until(async () => {
    const { certificates } = await server.admin('Certificates/ListCertificates', {
      filter: { spiffeId },
    });
    const first = certificates.find(({ serial }) => serial === serials[0]);
    if (Number(first?.['replacementConfirmedAt'] ?? 0) > 0) replacedBy = String(first?.['serial']);
    return replacedBy !== '';
  }, 'the proof of the replacement');
  assert.equal(replacedBy, serials[0]);

  await server.restart();
  await until(() => agent.status().connected === true, 'the reconnect');
  assert.equal(agent.status().entries, 1);
  const before = responses.length;
  await until(() => responses.length > before, 'a renewal after the restart');

  await server.admin('Entries/DeleteEntries', { ids: [entryId] });
  await until(() => ended !== undefined, 'the end of the stream');
  assert.equal(agent.status().svids?.length, 0);

  await server.admin('Agents/BanAgent', { spiffeId: agentId, reason: 'test' });
  await until(
    () => agent.readiness().reasons.some((reason) => reason.includes('AGENT_BANNED')),
    'the ban',
  );
});

test('several identities come in the order of the file, after restarts of server and agent too', async (context) => {
  const server = await startTestServer({ config: { listen: { port: await freePort() } } });
  defer(context, () => server[Symbol.asyncDispose]());
  const { agent, client, agentId, start } = await agentOf(context, server, 'node-1');
  await until(() => agent.status().synced === true, 'the session');
  const named = (id: string) => ({
    id,
    spiffeId: `spiffe://${testTrustDomain}/${id}`,
    parentId: agentId,
    selectors: [myUid],
  });
  // neither the order of the IDs nor its reverse
  await server.admin('Entries/ApplyEntries', {
    entries: ['m', 'z', 'a'].map(named),
    prune: false,
    dryRun: false,
  });
  await until(() => agent.status().entries === 3, 'the entries');
  const served = async (): Promise<readonly string[]> => {
    const stream = client.FetchX509SVID({}, header());
    stream.on('error', () => {});
    let names: readonly string[] = [];
    stream.on('data', ({ svids }: X509SVIDResponse__Output) => {
      names = svids.map(({ spiffeId }) => spiffeId.split('/').at(-1) ?? '');
    });
    await until(() => names.length >= 3, 'the identities');
    stream.cancel();
    return names;
  };
  assert.deepEqual(await served(), ['m', 'z', 'a']);
  await server.restart();
  await server.admin('Entries/CreateEntries', { entries: [named('0')] });
  await agent[Symbol.asyncDispose]();
  const again = await start();
  await until(() => again.status().entries === 4, 'the entries');
  await until(async () => (await served()).length === 4, 'the new identity');
  assert.deepEqual(await served(), ['m', 'z', 'a', '0']);
});

test('an agent whose SVID expired while it was off comes back unattended', async (context) => {
  const server = await startTestServer({
    config: { issuance: { minimumTtlSeconds: 1, agentTtlSeconds: 6 } },
  });
  defer(context, () => server[Symbol.asyncDispose]());
  const { agent, start } = await agentOf(context, server, 'node-2');
  await until(() => agent.status().connected === true, 'the session');
  await agent[Symbol.asyncDispose]();
  await past(Math.floor(Date.now() / 1000) + 6);
  const again = await start();
  await until(() => again.status().connected === true, 'the session after expiry');
});

test('20,000 entries reach an agent and stay entries, not keys', async (context) => {
  const server = await startTestServer();
  defer(context, () => server[Symbol.asyncDispose]());
  const { agent, agentId } = await agentOf(context, server, 'node-3');
  await until(() => agent.status().connected === true, 'the session');
  for (let batch = 0; batch < 40; batch += 1) {
    await server.admin('Entries/CreateEntries', {
      entries: Array.from({ length: 500 }, (_, index) => ({
        spiffeId: `spiffe://${testTrustDomain}/w/${batch}-${index}`,
        parentId: agentId,
        selectors: [`unix:uid:${100_000 + batch * 500 + index}`, 'unix:group:apps'],
      })),
    });
  }
  await until(() => agent.status().entries === 20_000, 'all entries');
  assert.ok((agent.status().svids?.length ?? 0) <= 16);
});

test('an agent keeps the newest checkpoint, which tells a restored server that its database is old', async (context) => {
  const server = await startTestServer({ config: { listen: { port: await freePort() } } });
  defer(context, () => server[Symbol.asyncDispose]());
  const { agent, agentId, dataDir } = await agentOf(context, server, 'node-1');
  await until(() => agent.status().synced === true, 'the session');
  const older = await backupOf(server);
  for (let at = 0; at < 40; at += 1)
    await server.admin('Tokens/CreateJoinToken', { agentName: `lost-${at}` });
  const kept = join(dataDir, 'log-checkpoint');
  const sizeKept = async (): Promise<number> =>
    Number((await readFile(kept, 'utf8').catch(() => '')).split('\n')[1] ?? 0);
  await until(async () => (await sizeKept()) >= 40, 'the newest checkpoint');
  assert.equal((await stat(kept)).mode & 0o777, 0o600);
  await putBack(server, older);
  await rm(join(server.dir, 'data', 'checkpoints.log'));
  await server.restart();
  let view = { stale: false, foundBy: '' };
  await until(
    async () => (view = await server.admin('Server/ShowRestore')).stale,
    'the server learns that its database is old',
  );
  assert.deepEqual([view.stale, view.foundBy], [true, agentId]);
});
