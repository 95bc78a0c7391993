import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import { certificatesToPem, parseCertificate, sha256Hex } from '../../../src/common/x509/index.ts';
import { startAgent, type RunningAgent } from '../../../sidecar/compose.ts';
import { agentConfigSchema } from '../../../sidecar/config.ts';
import { agentEnvironment } from '../../support/agent-environment.ts';
import { startImpostor, startJunction } from '../../support/impostor.ts';
import { rotationOf } from '../../support/mesh.ts';
import { codeOf, startTestServer, testTrustDomain, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

interface Node extends AsyncDisposable {
  readonly agent: () => RunningAgent;
  readonly bundleFile: string;
  start(): Promise<void>;
  stop(): Promise<void>;
}

let nodes = 0;

/** A node that talks to this address, with what an operator gave it for the first contact. */
async function nodeAt(server: TestServer, serverAddress: string, bootstrap: object): Promise<Node> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-impostor-'));
  nodes += 1;
  const { token } = await server.admin('Tokens/CreateJoinToken', { agentName: `node-${nodes}` });
  const config = agentConfigSchema.parse({
    trustDomain: testTrustDomain,
    serverAddress,
    dataDir: join(dir, 'd'),
    bootstrap,
    attestation: { joinToken: { token } },
    workloadApi: { socketPath: join(dir, 'w') },
    localApi: { socketPath: join(dir, 'l') },
    ops: { port: 0 },
    connection: { backoffBaseMs: 20, backoffCapMs: 100 },
  });
  let agent: RunningAgent | undefined;
  const stop = async (): Promise<void> => {
    await agent?.[Symbol.asyncDispose]();
    agent = undefined;
  };
  return {
    agent: () => agent as RunningAgent,
    bundleFile: join(dir, 'd', 'bundle.json'),
    start: async () => {
      agent = await startAgent(agentEnvironment(config));
    },
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

const refused = (node: Node): Promise<unknown> =>
  until(
    () => /SERVER_UNTRUSTED.*RESERVED_ID_UNTRUSTED/.test(node.agent().status().lastError ?? ''),
    'SERVER_UNTRUSTED',
  );
const connected = (node: Node): Promise<unknown> =>
  until(() => node.agent().status().connected === true, 'a session');

/** The key (SHA-256, hex) of the issuer that the server shows. */
async function shownIssuer(server: TestServer): Promise<string> {
  const socket = connectTls({
    host: '127.0.0.1',
    port: server.server.port,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
  });
  await once(socket, 'secureConnect');
  const { raw } = socket.getPeerCertificate(true).issuerCertificate;
  socket.destroy();
  return sha256Hex(unwrap(parseCertificate(raw)).spkiDer);
}

test('a CA downstream that poses as the server gets no join token, whatever the node checks by', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startTestServer());
  const impostor = stack.use(await startImpostor(server));
  const dir = await mkdtemp(join(tmpdir(), 'meshca-impostor-'));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const pem = join(dir, 'bundle.pem');
  await writeFile(pem, certificatesToPem(server.rootsDer));
  const rootFingerprint = sha256Hex(server.rootsDer[0] as Buffer);
  const { issuerFingerprints } = await server.admin('Tokens/CreateJoinToken', { agentName: 'x' });
  assert.equal(issuerFingerprints.length, 1);
  for (const bootstrap of [
    { rootFingerprint },
    { bundlePath: pem },
    { rootFingerprint, issuerFingerprint: issuerFingerprints[0] },
    { bundlePath: pem, issuerFingerprint: issuerFingerprints[0] },
  ]) {
    await using node = await nodeAt(server, impostor.address, bootstrap);
    await node.start();
    await refused(node);
    assert.deepEqual(impostor.fake.attestations, []);
  }
  // nothing else keeps the node from it: named by the operator, it is sent the token
  await using believing = await nodeAt(server, impostor.address, {
    rootFingerprint,
    issuerFingerprint: impostor.issuerFingerprint,
  });
  await believing.start();
  await until(() => impostor.fake.attestations.length > 0, 'an attestation');
});

test('a running agent is not taken over by it, and comes back when the way is free', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startTestServer());
  const impostor = stack.use(await startImpostor(server));
  const junction = stack.use(await startJunction(server.server.port));
  const node = stack.use(
    await nodeAt(server, junction.address, {
      rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer),
    }),
  );
  await node.start();
  await connected(node);
  const port = Number(impostor.address.split(':')[1]);
  junction.turn(port);
  await refused(node);
  await node.stop();
  await node.start();
  await refused(node);
  assert.deepEqual([impostor.fake.sessions.length, impostor.fake.attestations.length], [0, 0]);
  junction.turn(server.server.port);
  await connected(node);
});

test('an agent that slept through rotations of the intermediate wakes and walks to the new issuer', async () => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(
    await startTestServer({
      config: { issuance: { bundleRefreshHintSeconds: 1 }, rotation: { automatic: false } },
    }),
  );
  const junction = stack.use(await startJunction(server.server.port));
  const node = stack.use(
    await nodeAt(server, junction.address, {
      rootFingerprint: sha256Hex(server.rootsDer[0] as Buffer),
    }),
  );
  await node.start();
  await connected(node);
  await node.stop();
  const issuers = async (): Promise<readonly string[]> =>
    (JSON.parse(await readFile(node.bundleFile, 'utf8')) as { meshca_issuers: string[] })
      .meshca_issuers;
  const before = await issuers();
  const { activeId } = rotationOf(server);
  for (let round = 0; round < 2; round += 1) {
    const present = await activeId('issuing');
    const rotate = () =>
      server.admin('Authorities/RotateAuthorities', {
        kind: 'issuing',
        force: true,
        reason: 'the agent sleeps',
      });
    await until(
      async () => (await codeOf(rotate())) !== 'CONFLICT',
      'the rotation before has ended',
    );
    await until(async () => (await activeId('issuing')) !== present, 'a new issuing authority');
  }
  // its certificate is new, and of an issuer that the agent has not heard of
  await server.restart();
  assert.ok(!before.includes(await shownIssuer(server)));
  junction.turn(server.server.port);
  await node.start();
  await connected(node);
  const after = await issuers();
  assert.equal(before.length, 1);
  assert.ok(after.length > 1 && before.every((key) => after.includes(key)));
});
