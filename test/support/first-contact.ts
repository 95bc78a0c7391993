import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { unwrap } from '../../src/common/errors/index.ts';
import { parseCertificate, sha256Hex } from '../../src/common/x509/index.ts';
import { startAgent, type RunningAgent } from '../../sidecar/compose.ts';
import { agentConfigSchema } from '../../sidecar/config.ts';
import { agentEnvironment } from './agent-environment.ts';
import type { Junction } from './impostor.ts';
import { rotationOf } from './mesh.ts';
import { codeOf, testTrustDomain, type TestServer } from './server.ts';
import { until } from './until.ts';

/** A node with a real agent, to be started by the test. */
export interface Node extends AsyncDisposable {
  readonly agent: () => RunningAgent;
  readonly bundleFile: string;
  start(): Promise<void>;
  stop(): Promise<void>;
}

let nodes = 0;

/** A node that talks to this address, with what an operator gave it for the first contact. */
export async function nodeAt(
  server: TestServer,
  serverAddress: string,
  bootstrap: object,
): Promise<Node> {
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

/** The agent refuses whoever answers, because of its issuer. */
export const refused = (node: Node): Promise<unknown> =>
  until(
    () => /SERVER_UNTRUSTED.*RESERVED_ID_UNTRUSTED/.test(node.agent().status().lastError ?? ''),
    'SERVER_UNTRUSTED',
  );
export const connected = (node: Node): Promise<unknown> =>
  until(() => node.agent().status().connected === true, 'a session');

/** What the agent tells a person that looks at its status. */
export const toldBy = (node: Node): string => (node.agent().status().reasons ?? []).join('\n');
/** A connected agent tells nothing, once it has synchronised; a doubt about the issuer stays. */
export const tellsNothing = (node: Node): Promise<unknown> =>
  until(() => node.agent().status().synced === true && toldBy(node) === '', 'no reasons');

/** The key (SHA-256, hex) of the issuer that the server shows. */
export async function shownIssuer(server: TestServer): Promise<string> {
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

/** The keys (SHA-256, hex) of the issuing authorities that the bundle of this node names. */
const knownIssuers = async (node: Node): Promise<readonly string[]> =>
  (JSON.parse(await readFile(node.bundleFile, 'utf8')) as { meshca_issuers: string[] })
    .meshca_issuers;

/**
 * Rotates the issuing authority, as soon as the rotation before has ended, whoever sleeps.
 * `certify`: where people give the new one its certificate.
 */
export async function rotateIssuing(
  server: TestServer,
  certify: () => Promise<unknown> = () => Promise.resolve(),
): Promise<void> {
  const { activeId } = rotationOf(server);
  const present = await activeId('issuing');
  const begin = () =>
    codeOf(
      server.admin('Authorities/RotateAuthorities', {
        kind: 'issuing',
        force: true,
        reason: 'the agent sleeps',
      }),
    );
  let code = '';
  await until(async () => (code = await begin()) !== 'CONFLICT', 'the rotation before has ended');
  assert.equal(code, 'resolved');
  await certify();
  await until(async () => (await activeId('issuing')) !== present, 'a new issuing authority');
}

/** The agent slept while this happened: it wakes behind another issuer, and walks to it. */
export async function wakesAfter(
  {
    node,
    server,
    junction,
  }: { readonly node: Node; readonly server: TestServer; readonly junction: Junction },
  rotations: () => Promise<void>,
): Promise<void> {
  await node.stop();
  const before = await knownIssuers(node);
  await rotations();
  // its certificate is new, and of an issuer that the agent has not heard of
  await server.restart();
  assert.ok(!before.includes(await shownIssuer(server)));
  junction.turn(server.server.port);
  await node.start();
  await connected(node);
  const after = await knownIssuers(node);
  assert.equal(before.length, 1);
  assert.ok(after.length > 1 && before.every((key) => after.includes(key)));
  assert.ok(after.includes(await shownIssuer(server)));
}
