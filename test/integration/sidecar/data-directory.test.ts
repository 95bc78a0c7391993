import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { statfsSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { credentials, Metadata } from '@grpc/grpc-js';
import { sha256Hex } from '../../../src/common/x509/index.ts';
import { workloadContract } from '../../../src/common/wire/index.ts';
import { startAgent, type RunningAgent } from '../../../sidecar/compose.ts';
import { agentConfigSchema } from '../../../sidecar/config.ts';
import { agentEnvironment } from '../../support/agent-environment.ts';
import { defer } from '../../support/agent-fake-server.ts';
import { freePort } from '../../support/ports.ts';
import { startTestServer, testTrustDomain } from '../../support/server.ts';
import { until } from '../../support/until.ts';

interface Fault {
  readonly prepare: (dataDir: string, context: TestContext) => Promise<void>;
  readonly begin: (dataDir: string) => Promise<void>;
  readonly end: (dataDir: string) => Promise<void>;
}

const isRoot = process.getuid?.() === 0;
const nothing = (): Promise<void> => Promise.resolve();

/** A file system of its own under the data directory; where that is not allowed, a lost one. */
const mounted: Fault['prepare'] = async (dataDir, context) => {
  await mkdir(dataDir, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k,mode=700', 'tmpfs', dataDir]);
  defer(context, async () => {
    // a test that failed leaves the read-only view above it
    spawnSync('umount', ['-l', dataDir]);
    spawnSync('umount', ['-l', dataDir]);
  });
};

const lost: Fault = {
  prepare: nothing,
  // a plain file in its place: it can not be made anew either
  async begin(dataDir) {
    await rename(dataDir, `${dataDir}-away`);
    await writeFile(dataDir, '');
  },
  async end(dataDir) {
    await rm(dataDir);
  },
};

const faults: Readonly<Record<string, Fault>> = isRoot
  ? {
      full: {
        prepare: mounted,
        async begin(dataDir) {
          const { bavail, bsize } = statfsSync(dataDir);
          writeFileSync(join(dataDir, 'ballast'), Buffer.alloc(bavail * bsize, 1));
        },
        end: (dataDir) => rm(join(dataDir, 'ballast')),
      },
      'read-only': {
        prepare: mounted,
        // a read-only view of the same directory, above it
        async begin(dataDir) {
          execFileSync('mount', ['--bind', dataDir, dataDir]);
          execFileSync('mount', ['-o', 'remount,bind,ro', dataDir]);
        },
        end: async (dataDir) => void execFileSync('umount', ['-l', dataDir]),
      },
      lost,
    }
  : { lost };

/** A server, a place for a data directory, and a node that has a join token. */
async function nodeOf(context: TestContext, fault: Fault, below: '' | 'd' = '') {
  const server = await startTestServer({
    config: {
      listen: { port: await freePort() },
      issuance: { minimumTtlSeconds: 2, agentTtlSeconds: 4, defaultTtlSeconds: 4 },
    },
  });
  defer(context, () => server[Symbol.asyncDispose]());
  const directory = await mkdtemp(join(tmpdir(), 'meshca-disk-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  const disk = join(directory, 'disk');
  await fault.prepare(disk, context);
  const dataDir = join(disk, below);
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'disk' });
  const configOf = (sockets: string) =>
    agentConfigSchema.parse({
      trustDomain: testTrustDomain,
      serverAddress: `127.0.0.1:${server.server.port}`,
      dataDir,
      bootstrap: { rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer) },
      attestation: { joinToken: { token } },
      workloadApi: { socketPath: join(directory, `${sockets}w`) },
      localApi: { socketPath: join(directory, `${sockets}l`) },
      ops: { port: 0 },
      connection: { backoffBaseMs: 50, backoffCapMs: 200 },
    });
  const start = async (): Promise<RunningAgent> => {
    const agent = await startAgent(agentEnvironment(configOf('')));
    defer(context, () => agent[Symbol.asyncDispose]());
    return agent;
  };
  return { server, agentId, directory, disk, dataDir, start, secondConfig: configOf('2') };
}

async function worldOf(context: TestContext, fault: Fault) {
  const node = await nodeOf(context, fault);
  const { server, agentId, directory, start } = node;
  const agent = await start();
  await until(() => agent.status().connected === true, 'the session');
  await server.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: `spiffe://${testTrustDomain}/web`,
        parentId: agentId,
        selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
      },
    ],
  });
  await until(() => agent.status().entries === 1, 'the entry');
  const client = new (workloadContract().packages.SpiffeWorkloadAPI)(
    `unix:${join(directory, 'w')}`,
    credentials.createInsecure(),
  );
  defer(context, () => client.close());
  const metadata = new Metadata();
  metadata.set('workload.spiffe.io', 'true');
  const received = { count: 0, ended: false };
  const stream = client.FetchX509SVID({}, metadata);
  stream.on('data', () => (received.count += 1));
  stream.on('error', () => (received.ended = true));
  await until(() => received.count > 0, 'the first SVID');
  return { ...node, agent, received };
}

const keptNotAfter = async (dataDir: string): Promise<number> =>
  (JSON.parse(await readFile(join(dataDir, 'agent-svid.json'), 'utf8')) as { notAfter: number })
    .notAfter;

for (const [name, fault] of Object.entries(faults))
  test(`an agent whose data directory is ${name} serves from memory, says so, and writes it later`, async (context) => {
    const { agent, start, dataDir, received } = await worldOf(context, fault);
    await fault.begin(dataDir);
    const { count } = received;
    const from = agent.status().svidNotAfter as number;
    await until(() => (agent.status().svidNotAfter as number) > from + 4, 'renewals in memory');
    await until(() => received.count >= count + 2, 'SVIDs for the workload');
    const { reasons, notes } = agent.readiness();
    assert.deepEqual(reasons, []);
    assert.match(notes.join(), /not kept on disk: .*agent-svid\.json.*STATE_UNUSABLE/);

    await fault.end(dataDir);
    await until(() => agent.readiness().notes.length === 0, 'that everything is kept again');
    assert.ok((await keptNotAfter(dataDir)) > from);
    assert.equal(received.ended, false);
    await agent[Symbol.asyncDispose]();
    const again = await start();
    await until(() => again.status().connected === true, 'the session after a restart');
  });

test('a data directory that was removed admits no second agent, and is made and filled anew', async (context) => {
  const { agent, dataDir, secondConfig } = await worldOf(context, lost);
  await rm(dataDir, { recursive: true });
  await assert.rejects(startAgent(agentEnvironment(secondConfig)), { code: 'STATE_LOCKED' });
  await until(async () => (await keptNotAfter(dataDir).catch(() => 0)) > 0, 'the own SVID on disk');
  await assert.rejects(startAgent(agentEnvironment(secondConfig)), { code: 'STATE_LOCKED' });
  assert.deepEqual(agent.readiness().reasons, []);
});

/** A disk of its own, that a test may fill and make read-only before an agent starts on it. */
const ofItsOwn = Object.entries(faults).filter(([name]) => name !== 'lost');

for (const [name, fault] of ofItsOwn)
  test(`an agent that starts on a ${name} disk goes on from memory, says so, and admits no second`, async (context) => {
    const { agent, start, dataDir, secondConfig } = await worldOf(context, fault);
    await agent[Symbol.asyncDispose]();
    await fault.begin(dataDir);
    const again = await start();
    assert.match(again.readiness().notes.join(), /not kept on disk: /);
    await until(() => again.status().connected === true, 'the session');
    const from = again.status().svidNotAfter as number;
    await until(() => (again.status().svidNotAfter as number) > from, 'a renewal in memory');
    assert.deepEqual(again.readiness().reasons, []);
    await assert.rejects(startAgent(agentEnvironment(secondConfig)), { code: 'STATE_LOCKED' });
    await fault.end(dataDir);
    await until(() => again.readiness().notes.length === 0, 'that everything is kept again');
    assert.ok((await keptNotAfter(dataDir)) >= from);
    await assert.rejects(startAgent(agentEnvironment(secondConfig)), { code: 'STATE_LOCKED' });
  });

for (const [name, fault] of ofItsOwn)
  for (const below of ['', 'd'] as const)
    test(`a new node on a ${name} disk${below && ', without its directory,'} joins once its key can be kept`, async (context) => {
      const { disk, dataDir, start, secondConfig } = await nodeOf(context, fault, below);
      await fault.begin(disk);
      const agent = await start();
      // the join token counts for one key, so that it is not shown for a key that may get lost
      await until(() => /STATE_UNUSABLE/.test(agent.status().lastError ?? ''), 'the refusal');
      await assert.rejects(startAgent(agentEnvironment(secondConfig)), { code: 'STATE_LOCKED' });
      await fault.end(disk);
      await until(() => agent.status().connected === true, 'the session');
      assert.ok((await keptNotAfter(dataDir)) > 0);
    });
