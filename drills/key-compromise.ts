import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { PkiError, unwrap } from '../src/common/errors/index.ts';
import { uuidv7 } from '../src/common/runtime/index.ts';
import {
  createCsr,
  generateKeyPairAsync,
  parseCrl,
  sha256Hex,
  spkiOf,
} from '../src/common/x509/index.ts';
import { freePorts } from '../test/support/ports.ts';
import { productEntry } from '../test/support/product.ts';
import { attestByToken, type Credential } from '../test/support/server.ts';
import { patienceMs, until } from '../test/support/until.ts';
import { unary } from './calls.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { OutageNode } from './outage-node.ts';
import { ProvisionClients } from './provision-clients.ts';
import { chosenServers, ProvisionServers } from './provision-servers.ts';
import { runNode } from './run-node.ts';
import { createWorld, livesOf, trustDomain, type World } from './world.ts';

/** So long that no certificate is replaced for its age: each replacement is due to a revocation. */
const lifeSeconds = 3_600;
/** From the answer to a revocation until its CRL has it; tests may be slow. */
const promisedCrlSeconds = { short: 60, long: 5 };
const promisedHoldersSeconds = 300;
const sign = '/meshca.signing.v1.Signing/Sign';

interface Scene {
  readonly world: World;
  readonly node: OutageNode;
  readonly servers: ProvisionServers;
  readonly clients: ProvisionClients;
  readonly delegate: Delegate;
  readonly breaches: Breaches;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
  readonly slowest: { crlSeconds: number; holdersSeconds: number };
}

interface Delegate {
  readonly credential: Credential;
  readonly delegationId: string;
  readonly key: KeyObject;
}

/** A key is stolen, then all of a node, then that of a control plane, under traffic. */
export const keyCompromise: Drill = {
  name: 'key-compromise',
  promise:
    'after a stolen key every holder has a new certificate within minutes and no request fails; the old serials are on CRLs within 5 s, and nothing is issued for the key any more',
  options: ['--servers A,B        that read files (default nginx,haproxy)'],
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const names = chosenServers(options['servers'] ?? 'nginx,haproxy');
    await using world = await revocableWorld(signal);
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    await using node = new OutageNode(world, 'node-keys');
    await using servers = await ProvisionServers.start(world, node, {
      ...{ servers: names, lifeSeconds },
      profile: 'revocable',
    });
    say(`${names.join(', ')} serve what the agent wrote`);
    await using clients = new ProvisionClients(node.socketPath, short ? 150 : 20, servers.served);
    const slowest = { crlSeconds: 0, holdersSeconds: 0 };
    const delegate = await delegateOf(world);
    const common = { breaches, say, signal, slowest };
    const scene: Scene = { world, node, servers, clients, delegate, ...common };
    await until(async () => (await live(scene)).length > names.length, 'clients have certificates');

    await stolenKey(scene);
    await stolenNode(scene);
    await stolenDelegate(scene);

    const figures = Object.values(await clients.figures());
    for (const { failures } of figures)
      for (const [text, count] of Object.entries(failures)) breaches.add(`${text} (${count})`);
    breaches.expect(
      slowest.crlSeconds < promisedCrlSeconds[short ? 'short' : 'long'],
      `a revoked certificate was on its CRL after ${slowest.crlSeconds.toFixed(1)} s`,
    );
    breaches.expect(
      slowest.holdersSeconds < promisedHoldersSeconds,
      `the last holder had a new certificate after ${slowest.holdersSeconds.toFixed(1)} s`,
    );
    await server.stop();
    return {
      figures: {
        servers: names,
        crlSeconds: round(slowest.crlSeconds, 1),
        holdersSeconds: round(slowest.holdersSeconds, 1),
        handshakes: figures.reduce((sum, { handshakes }) => sum + handshakes, 0),
        failed: figures.reduce((sum, { failed }) => sum + failed, 0),
      },
      broken: breaches.list,
    };
  },
};

async function revocableWorld(signal: AbortSignal): Promise<World> {
  const [port] = await freePorts(1);
  return createWorld({
    signal,
    signers: 1,
    issuance: { ...livesOf(lifeSeconds), crlBaseUrl: `http://127.0.0.1:${port}/crl` },
    sections: { rotation: { automatic: false }, http: { plain: { port } } },
  });
}

async function delegateOf(world: World): Promise<Delegate> {
  const credential = await world.calls.mint(`spiffe://${trustDomain}/control-plane`);
  const { id: delegationId } = await world.calls.admin('Delegations/CreateDelegation', {
    delegation: {
      clientId: credential.spiffeId,
      patterns: [`spiffe://${trustDomain}/cp/*`],
      maxTtlSeconds: lifeSeconds,
      profile: 'revocable',
    },
  });
  const { privateKey: key } = await generateKeyPairAsync('ec-p256');
  const delegate = { credential, delegationId: delegationId as string, key };
  await signAs(world, delegate, key);
  return delegate;
}

async function signAs(world: World, { credential }: Delegate, key: KeyObject): Promise<void> {
  const client = world.calls.client(credential);
  try {
    await unary(client, sign, {
      requestId: uuidv7(),
      spiffeId: `spiffe://${trustDomain}/cp/web`,
      csrDer: createCsr(key),
    });
  } finally {
    world.calls.forget(client);
  }
}

interface Live {
  readonly serial: string;
  readonly spiffeId: string;
  readonly publicKeySha256: string;
}

/** Certificates of the node that have not ended, without that of its agent. */
async function live({ world, node }: Scene): Promise<readonly Live[]> {
  const { certificates } = await world.calls.admin('Certificates/ListCertificates', {
    filter: { holder: node.agentId, kind: 'workload', state: 'issued' },
    page: { size: 1000 },
  });
  return certificates as readonly Live[];
}

/** As an operator does it. Returns the serials that are revoked. */
async function revoke(scene: Scene, selection: readonly string[]): Promise<void> {
  const { world, breaches, signal } = scene;
  const { code, stderr } = await runNode(
    [
      productEntry,
      ...['--server-socket', world.adminSocketPath, 'certificate', 'revoke', ...selection],
      ...['--reason', 'keyCompromise', '--yes', '--json'],
    ],
    patienceMs,
    signal,
  );
  breaches.expect(code === 0, `meshca certificate revoke ended with ${code}: ${stderr}`);
}

/** Revokes, and waits until the CRLs have the serials and the node has other certificates. */
async function replaced(
  scene: Scene,
  serials: readonly string[],
  selection: readonly string[],
): Promise<void> {
  await revoke(scene, selection);
  const startedMs = performance.now();
  const seconds = (): number => (performance.now() - startedMs) / 1000;
  for (const serial of serials) await until(() => isOnCrl(scene, serial), `${serial} is on a CRL`);
  scene.slowest.crlSeconds = Math.max(scene.slowest.crlSeconds, seconds());
  await until(
    () => hasOthers(scene, new Set(serials)),
    'every identity has another certificate',
    promisedHoldersSeconds * 1000,
  );
  await until(
    () => scene.servers.all().every(({ directory }) => !serials.includes(directory.currentSerial)),
    'every server has another certificate',
    promisedHoldersSeconds * 1000,
  );
  scene.slowest.holdersSeconds = Math.max(scene.slowest.holdersSeconds, seconds());
}

/** A certificate of a process that has ended has no successor, so that identities count. */
async function hasOthers(scene: Scene, serials: ReadonlySet<string>): Promise<boolean> {
  const held = await live(scene);
  const others = new Set(
    held.filter(({ serial }) => !serials.has(serial)).map(({ spiffeId }) => spiffeId),
  );
  return held.every(({ spiffeId }) => others.has(spiffeId));
}

async function isOnCrl({ world }: Scene, serial: string): Promise<boolean> {
  const { crlUrl } = await world.calls.admin('Certificates/GetCertificate', { serial });
  const response = await fetch(crlUrl as string);
  if (!response.ok) return false;
  const crl = unwrap(parseCrl(Buffer.from(await response.arrayBuffer()), { ofShards: true }));
  return crl.revoked.has(serial);
}

/** The thief reads the key file of a server. */
async function stolenKey(scene: Scene): Promise<void> {
  const { servers, say } = scene;
  const [victim] = servers.all();
  if (victim === undefined) throw new Error('there is no server');
  const key = createPrivateKey(readFileSync(victim.directory.file('key')));
  const stolen = victim.directory.currentSerial;
  await replaced(scene, [stolen], ['--public-key', victim.directory.file('key')]);
  await refusedEverywhere(scene, key);
  say(`${victim.name} has another certificate, and its old key is refused`);
}

/** The thief has all keys of the node, but that of its agent. */
async function stolenNode(scene: Scene): Promise<void> {
  const { node, world, say, breaches } = scene;
  const held = await live(scene);
  await replaced(
    scene,
    held.map(({ serial }) => serial),
    ['--holder', node.agentId],
  );
  const { keys } = await world.calls.admin('Keys/ListBlockedKeys', { page: { size: 1000 } });
  const blocked = new Set((keys as readonly Live[]).map((key) => key.publicKeySha256));
  for (const { publicKeySha256 } of held)
    breaches.expect(blocked.has(publicKeySha256), 'a stolen key of the node is not blocked');
  say(`${held.length} certificates of the node were replaced`);
}

/** The thief has a key that a control plane made. */
async function stolenDelegate(scene: Scene): Promise<void> {
  const { world, delegate, breaches, say } = scene;
  await revoke(scene, ['--delegation', delegate.delegationId]);
  await refusedEverywhere(scene, delegate.key);
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  await signAs(world, delegate, privateKey).catch((thrown: unknown) =>
    breaches.add(`the control plane got nothing for a new key: ${String(thrown)}`),
  );
  say('the control plane has a certificate with another key');
}

async function refusedEverywhere(scene: Scene, key: KeyObject): Promise<void> {
  const { world, delegate, breaches } = scene;
  const csr = { csrDer: createCsr(key), requestId: uuidv7() };
  const ways: Readonly<Record<string, () => Promise<unknown>>> = {
    mint: () =>
      world.calls.admin('Certificates/MintX509Svid', {
        ...csr,
        spiffeId: `spiffe://${trustDomain}/thief`,
      }),
    delegation: () => signAs(world, delegate, key),
    'downstream CA': () =>
      world.calls.admin('AuthoritySources/SignDownstream', { ...csr, ttlSeconds: 3_600 }),
    attestation: async () => {
      const { token } = await world.calls.admin('Tokens/CreateJoinToken', { agentName: 'thief' });
      return attestByToken(world.calls.client(), token as string, { key });
    },
  };
  for (const [name, way] of Object.entries(ways)) {
    const code = await way().then(
      () => 'issued',
      (thrown: unknown) => PkiError.from(thrown).code,
    );
    breaches.expect(code === 'KEY_BLOCKED', `${name} for ${sha256Hex(spkiOf(key))}: ${code}`);
  }
}
