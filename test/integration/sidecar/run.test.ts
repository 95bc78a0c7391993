import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { ReloadRequests, silentLogger, type Logger } from '../../../src/common/runtime/index.ts';
import {
  agentContract,
  fromServiceError,
  workloadContract,
} from '../../../src/common/wire/index.ts';
import type { X509SVIDResponse__Output } from '../../../src/common/wire/generated/X509SVIDResponse.ts';
import type { AgentStatus__Output } from '../../../src/common/wire/generated/meshca/agent/v1/AgentStatus.ts';
import { configKeys } from '../../../src/common/runtime/config-loader.ts';
import {
  agentConfigSchema,
  agentEnvPrefix,
  agentJsonSchema,
  loadAgentConfig,
} from '../../../sidecar/config.ts';
import { runAgent } from '../../../sidecar/main.ts';
import {
  agentId,
  defer,
  FakeServer,
  joinToken,
  wireEntry,
} from '../../support/agent-fake-server.ts';
import { until } from '../../support/until.ts';

interface Run {
  readonly directory: string;
  readonly exit: Promise<number>;
  readonly output: () => string;
  readonly opsPort: () => number;
  stop(): void;
}

async function run(context: TestContext, server: FakeServer, config: object = {}): Promise<Run> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-run-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  const configPath = join(directory, 'agent.json');
  await writeFile(
    configPath,
    JSON.stringify({
      trustDomain: 'td',
      serverAddress: server.address,
      dataDir: join(directory, 'data'),
      bootstrap: { rootFingerprint: server.rootFingerprint },
      attestation: { joinToken: { token: joinToken } },
      workloadApi: { socketPath: join(directory, 'w.sock') },
      localApi: { socketPath: join(directory, 'l.sock') },
      ops: { port: 0 },
      connection: { backoffBaseMs: 20, backoffCapMs: 100 },
      ...config,
    }),
  );
  return start(context, directory, configPath);
}

function start(
  context: TestContext,
  directory: string,
  configPath: string,
  env: Record<string, string> = {},
): Run {
  const abort = new AbortController();
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  let text = '';
  for (const stream of [stdout, stderr])
    stream.on('data', (data: Buffer) => {
      text += data.toString();
    });
  let opsPort = 0;
  const logger: Logger = {
    ...silentLogger,
    child: () => logger,
    info: (fields) => {
      opsPort ||= (fields as { opsPort?: number }).opsPort ?? 0;
    },
  };
  const exit = runAgent({
    reloads: new ReloadRequests(),
    configPath,
    env,
    stdout,
    stderr,
    signal: abort.signal,
    logger,
  });
  defer(context, async () => {
    abort.abort();
    await exit;
  });
  return { directory, exit, output: () => text, opsPort: () => opsPort, stop: () => abort.abort() };
}

const header = (): Metadata => {
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  return metadata;
};

const fetchJson = (port: number, path: string): Promise<{ status: number; body: string }> =>
  new Promise((resolve, reject) => {
    get({ port, host: '127.0.0.1', path }, (response) => {
      let body = '';
      response.on('data', (data: Buffer) => {
        body += data.toString();
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    }).on('error', reject);
  });

const myUid = `unix:uid:${process.getuid?.() ?? 0}`;

test('a workload gets its SVID through the whole agent, renewed in time; operators see status and metrics', async (context) => {
  const server = new FakeServer();
  server.entries = [wireEntry('web', [myUid], { hint: 'main' })];
  server.workloadTtlSeconds = 15;
  await server.start();
  defer(context, () => server.stop());
  const agent = await run(context, server);
  await until(() => agent.opsPort() !== 0, 'the start');
  await until(() => server.sessions.length === 1, 'the session');
  const client = new (workloadContract().packages.SpiffeWorkloadAPI)(
    `unix:${join(agent.directory, 'w.sock')}`,
    credentials.createInsecure(),
  );
  defer(context, () => client.close());
  const responses: X509SVIDResponse__Output[] = [];
  const stream = client.FetchX509SVID({}, header());
  stream.on('data', (response) => responses.push(response));
  stream.on('error', () => {});
  await until(() => responses.length >= 2, 'a renewal');
  assert.equal(responses[0]?.svids[0]?.spiffeId, 'spiffe://td/web');
  assert.equal(responses[0]?.svids[0]?.hint, 'main');
  assert.notDeepEqual(responses[0]?.svids[0]?.x509SvidKey, responses[1]?.svids[0]?.x509SvidKey);
  await until(
    () =>
      server.session.up.some(({ replacements }) => (replacements?.replacedSerials.length ?? 0) > 0),
    'the proof of replacement',
  );
  await until(
    () =>
      server.session.up.some(({ consumers }) =>
        consumers?.consumers.some(
          ({ kind, state }) => kind === 'workload-stream' && state === 'confirmed',
        ),
      ),
    'the confirmation of the bundle',
  );
  await until(
    () =>
      server.session.up.some(({ consumers }) =>
        consumers?.consumers.some(
          ({ kind, state, spiffeId }) =>
            kind === 'agent' && state === 'confirmed' && spiffeId === agentId,
        ),
      ),
    'the confirmation of the agent itself',
  );
  const local = new (agentContract().packages.meshca.agent.v1.AgentLocal)(
    `unix:${join(agent.directory, 'l.sock')}`,
    credentials.createInsecure(),
  );
  defer(context, () => local.close());
  const status = await new Promise<AgentStatus__Output>((resolve, reject) =>
    local.getStatus({}, (error: ServiceError | null, value) =>
      error ? reject(error) : resolve(value as AgentStatus__Output),
    ),
  );
  assert.equal(status.ready, true);
  assert.equal(status.connected, true);
  assert.equal(status.svids[0]?.consumers, 1);
  assert.equal(status.survivedOutageSeconds, 8);
  // what the server is told: nothing is in use at the hello, then the life that is
  const told = server.session.up.flatMap(({ hello, agent: report }) =>
    [hello, report].flatMap((each) => each?.survivedOutageSeconds ?? []),
  );
  assert.deepEqual(told, [0, 8]);
  assert.equal((await fetchJson(agent.opsPort(), '/live')).status, 200);
  assert.equal((await fetchJson(agent.opsPort(), '/ready')).status, 200);
  const metrics = (await fetchJson(agent.opsPort(), '/metrics')).body;
  assert.match(metrics, /meshca_agent_connected 1\n/);
  assert.match(metrics, /meshca_agent_svid_issuances_total\{kind="x509",outcome="ok"\} [2-9]/);
  server.change([], ['web']);
  await until(() => stream.destroyed || stream.closed || responses.length > 0, 'the end');
  agent.stop();
  assert.equal(await agent.exit, 0);
  await assert.rejects(stat(join(agent.directory, 'w.sock')));
});

test('an agent that restarts while the CA is away knows its entries, and serves kept keys', async (context) => {
  const server = new FakeServer();
  server.entries = [wireEntry('web', [myUid])];
  await server.start();
  defer(context, () => server.stop());
  const agent = await run(context, server, {
    svid: {
      persistWorkloadKeys: true,
      workloadKeysDir: join(tmpdir(), `meshca-keys-${process.pid}`),
    },
  });
  defer(context, () =>
    rm(join(tmpdir(), `meshca-keys-${process.pid}`), { recursive: true, force: true }),
  );
  const first = async (): Promise<X509SVIDResponse__Output> => {
    const client = new (workloadContract().packages.SpiffeWorkloadAPI)(
      `unix:${join(agent.directory, 'w.sock')}`,
      credentials.createInsecure(),
    );
    try {
      return await new Promise((resolve, reject) => {
        const stream = client.FetchX509SVID({}, header());
        stream.once('data', (response: X509SVIDResponse__Output) => {
          resolve(response);
          stream.cancel();
        });
        stream.on('error', reject);
      });
    } finally {
      client.close();
    }
  };
  await until(() => agent.opsPort() !== 0 && server.sessions.length === 1, 'the session');
  const before = await first();
  agent.stop();
  await agent.exit;
  await server.stop();
  const again = start(context, agent.directory, join(agent.directory, 'agent.json'));
  await until(() => again.opsPort() !== 0, 'the second start');
  const after = await first();
  assert.deepEqual(after.svids[0]?.x509Svid, before.svids[0]?.x509Svid);
  const { status, body } = await fetchJson(again.opsPort(), '/ready');
  assert.equal(status, 200);
  assert.match(body, /not connected/);
});

test('an agent that restarts without a CA and without SVIDs is not ready and tells workloads why', async (context) => {
  const server = new FakeServer();
  server.entries = [wireEntry('web', [myUid])];
  await server.start();
  defer(context, () => server.stop());
  const agent = await run(context, server);
  await until(() => agent.opsPort() !== 0 && server.sessions.length === 1, 'the session');
  const client = new (workloadContract().packages.SpiffeWorkloadAPI)(
    `unix:${join(agent.directory, 'w.sock')}`,
    credentials.createInsecure(),
  );
  defer(context, () => client.close());
  const stream = client.FetchX509SVID({}, header());
  stream.on('error', () => {});
  await once(stream, 'data');
  stream.cancel();
  agent.stop();
  await agent.exit;
  await server.stop();
  const again = start(context, agent.directory, join(agent.directory, 'agent.json'));
  await until(() => again.opsPort() !== 0, 'the second start');
  const { status, body } = await fetchJson(again.opsPort(), '/ready');
  assert.equal(status, 503);
  assert.match(body, /no SVID is held, and the server is away/);
  const refused = client.FetchX509SVID({}, header());
  const [error] = (await once(refused, 'error')) as [ServiceError];
  assert.equal(fromServiceError(error).code, 'UNREACHABLE');
  assert.match(error.details, /no connection to the server/);
});

test('a start that can not succeed ends with its code and advice', async (context) => {
  const server = new FakeServer();
  await server.start();
  defer(context, () => server.stop());
  for (const [config, exit, text] of [
    [{ attestation: {} }, 1, 'NODE_CREDENTIAL_MISSING'],
    [{ bootstrap: {} }, 1, 'SERVER_UNTRUSTED'],
    [{ trustDomian: 'x' }, 2, 'did you mean trustDomain?'],
    [{ bootstrap: { bundlePath: '/nonexistent' } }, 1, 'BUNDLE_INVALID'],
    [{ outage: { promisedSeconds: 3000 } }, 2, 'promisedSeconds'],
    [{ ops: { address: '0.0.0.0' } }, 2, 'loopback'],
    [{ attestation: { joinToken: { token: 'a', path: '/b' } } }, 2, 'give one of'],
    [
      {
        attestation: {
          joinToken: { token: 'a' },
          x509pop: { certificatePath: '/a', keyPath: '/b' },
        },
      },
      2,
      'give one of joinToken, x509pop',
    ],
    [{ attestation: { x509pop: { certificatePath: '/a' } } }, 2, 'keyPath is missing'],
  ] as const) {
    const agent = await run(context, server, config);
    assert.equal(await agent.exit, exit, text);
    assert.ok(agent.output().includes(text), agent.output());
  }
});

test('every key of the configuration has a variable and a description in the schema', async () => {
  const keys = configKeys(agentConfigSchema, agentEnvPrefix);
  assert.ok(
    keys.every(({ description }) => description !== ''),
    keys
      .filter(({ description }) => description === '')
      .map(({ path }) => path)
      .join(),
  );
  assert.ok('properties' in agentJsonSchema());
  const loaded = await loadAgentConfig({
    env: {
      MESHCA_AGENT_TRUST_DOMAIN: 'td',
      MESHCA_AGENT_SERVER_ADDRESS: 'ca:8443',
      MESHCA_AGENT_SVID_WARM: '3',
      MESHCA_AGENT_LOCAL_API_UIDS: '1000,1001',
      MESHCA_AGENT_CONFIG: '/x',
    },
  });
  assert.ok(loaded.ok);
  assert.equal(loaded.value.svid.warm, 3);
  assert.deepEqual(loaded.value.localApi.uids, [1000, 1001]);
});
