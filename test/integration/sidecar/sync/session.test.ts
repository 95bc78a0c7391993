import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock, systemRandom, type Random } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { certificatesToPem, pemEncode, pkcs8Of } from '../../../../src/common/x509/index.ts';
import { BundleStore, parseBundleDocument, rootsOnly } from '../../../../sidecar/bundle/index.ts';
import { SyncedEntryCache } from '../../../../sidecar/cache/index.ts';
import { IssuerConnection, type ServerTrust } from '../../../../sidecar/issuer-client/index.ts';
import {
  AgentIdentity,
  configuredEvidence,
  nodeAttestorTypes,
  type NodeAttestorConfiguration,
} from '../../../../sidecar/node-attestation/index.ts';
import {
  AgentState,
  CheckpointKeeper,
  LostState,
  loadEntries,
  saveEntries,
} from '../../../../sidecar/state/index.ts';
import { entryOf } from '../../../support/agent.ts';
import { foreignDocument } from '../../../support/foreign-bundle.ts';
import { createRoot } from '../../../support/test-pki.ts';
import { JwtSvids, KeyPool, SigningQueue, X509Svids } from '../../../../sidecar/svid/index.ts';
import {
  Consumers,
  EntriesReceiver,
  HandshakeCounts,
  IssuerSession,
  Replacements,
  TargetReports,
} from '../../../../sidecar/sync/index.ts';
import { noVantagePoint } from '../../../../sidecar/vantage/index.ts';
import { withoutTargets } from '../../../support/without-targets.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { makeAuthority, makeCertificate, makeKey, leafExtensions } from '../../../support/x509.ts';
import {
  agentId,
  defer,
  FakeServer,
  issuersByMark,
  joinToken,
  newJwtKey,
  wireEntry,
} from '../../../support/agent-fake-server.ts';
import { stateWrites } from '../../../support/state-writes.ts';
import { past, patienceMs, until } from '../../../support/until.ts';

const trustDomain = TrustDomain.of('td');
const selectors = [{ type: 'unix', value: 'uid:1' }];
const seconds = (): number => Math.floor(Date.now() / 1000);

interface Agent {
  readonly session: IssuerSession;
  readonly identity: AgentIdentity;
  readonly bundles: BundleStore;
  readonly cache: SyncedEntryCache;
  readonly receiver: EntriesReceiver;
  readonly consumers: Consumers;
  readonly x509: X509Svids;
  readonly jwt: JwtSvids;
  readonly replaced: string[];
  readonly failures: string[];
  stop(): Promise<void>;
}

interface AgentOptions {
  readonly directory: string;
  readonly trust?: ServerTrust;
  readonly nodeAttestation?: NodeAttestorConfiguration;
  readonly random?: Random;
  readonly prefetch?: number;
  readonly receiver?: EntriesReceiver;
}

async function directoryFor(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-agent-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  return join(directory, 'state');
}

// oxlint-disable-next-line test-sizes/function-lines -- one agent, part by part
async function startAgent(
  context: TestContext,
  server: FakeServer,
  options: AgentOptions,
): Promise<Agent> {
  const state = await AgentState.open(options.directory, trustDomain, stateWrites());
  const bundles = new BundleStore(trustDomain, silentLogger, {
    own: (json) => state.saveBundle(json),
    federated: async () => true,
  });
  const kept = await state.bundle();
  if (kept !== undefined) bundles.restore(kept);
  const random = options.random ?? systemRandom;
  const common = {
    address: server.address,
    trustDomain,
    clock: systemClock,
    connectTimeoutMs: patienceMs,
    callDeadlineMs: patienceMs,
    keepaliveMs: patienceMs,
  };
  const byBundle: ServerTrust = {
    kind: 'bundle',
    roots: () => bundles.roots(),
    issuers: issuersByMark,
  };
  const identity = await AgentIdentity.load({
    trustDomain,
    state,
    bundles,
    clock: systemClock,
    random,
    logger: silentLogger,
    agentVersion: 'test',
    logCheckpoint: () => '',
    configured: () =>
      configuredEvidence(
        nodeAttestorTypes,
        options.nodeAttestation ?? { joinToken: { token: joinToken } },
        silentLogger,
      ),
    connectAnonymously: (signal) =>
      IssuerConnection.open(
        {
          ...common,
          identity: undefined,
          trust:
            kept !== undefined
              ? byBundle
              : (options.trust ?? {
                  kind: 'fingerprint',
                  rootsSha256Hex: [server.rootFingerprint],
                  issuers: issuersByMark,
                }),
        },
        signal,
      ),
  });
  const cache = new SyncedEntryCache({ trustDomain, clock: systemClock, logger: silentLogger });
  const receiver = new EntriesReceiver(cache);
  const [replaced, failures]: string[][] = [[], []];
  const report = (): void => session.reportSoon();
  const consumers = new Consumers(systemClock, report);
  const replacements = new Replacements(report);
  const session: IssuerSession = new IssuerSession({
    targets: new TargetReports(withoutTargets, silentLogger),
    vantage: noVantagePoint(silentLogger),
    identity,
    bundles,
    receiver,
    consumers,
    replacements,
    handshakes: new HandshakeCounts(report),
    checkpoints: await CheckpointKeeper.open(options.directory, stateWrites(), () => {}),
    clock: systemClock,
    random,
    logger: silentLogger,
    agentVersion: 'test',
    instanceId: 'test',
    lostState: await LostState.open(options.directory, stateWrites()),
    survivedOutageSeconds: () => 1980,
    keptSerial: () => identity.credential?.serial,
    soonestExpirySeconds: () => undefined,
    shortestLifeSeconds: () => undefined,
    reconnect: { baseMs: 20, capMs: 100 },
    connect: (as, signal) =>
      IssuerConnection.open({ ...common, identity: as, trust: byBundle }, signal),
    onEntries: () => {},
    onTainted: (tainted) =>
      x509.setTainted(
        new Map(tainted.map(({ authorityId, windowSeconds }) => [authorityId, windowSeconds])),
      ),
    onAuthorities: () => {},
    onRenewal: () => {},
  });
  const keys = new KeyPool('ec-p256', 4);
  const x509: X509Svids = new X509Svids({
    trustDomain,
    cache,
    queue: new SigningQueue((request) => session.signX509Svids(request), keys, systemClock),
    roots: () => bundles.roots(),
    connected: () => session.connected(),
    clock: systemClock,
    random,
    logger: silentLogger,
    warm: 4,
    prefetch: options.prefetch ?? 0,
    readyDeadlineMs: patienceMs,
    events: {
      renewed: () => {},
      expiredInUse: () => {},
      failed: (code) => failures?.push(code),
      replaced: (serial) => {
        replaced?.push(serial);
        replacements.confirmed(serial);
      },
    },
  });
  const jwt = new JwtSvids({
    sign: (request) => session.signJwtSvid(request),
    cache,
    clock: systemClock,
    logger: silentLogger,
    size: 10,
    onSigned: () => {},
  });
  session.onChange(() => {
    if (session.connected()) x509.reconnected();
  });
  const abort = new AbortController();
  const running = session.run(abort.signal);
  const stop = async (): Promise<void> => {
    abort.abort(new Error('stop'));
    await running;
    x509.close();
    keys.close();
    cache.close();
  };
  defer(context, stop);
  return {
    session,
    identity,
    bundles,
    cache,
    receiver,
    consumers,
    x509,
    jwt,
    replaced: replaced as string[],
    failures: failures as string[],
    stop,
  };
}

async function startServer(context: TestContext): Promise<FakeServer> {
  const server = new FakeServer();
  server.entries = [wireEntry('web', ['unix:uid:1'])];
  await server.start();
  defer(context, () => server.stop());
  return server;
}

const identityOf = (agent: Agent) =>
  agent.cache.match(selectors)[0] as NonNullable<ReturnType<SyncedEntryCache['match']>[0]>;

test('an agent joins by token and fingerprint, syncs, and obtains an SVID whose state is private on disk', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const agent = await startAgent(context, server, { directory });
  await until(() => agent.cache.synced(), 'the snapshot');
  assert.equal(agent.identity.spiffeId?.toString(), agentId);
  assert.equal(agent.bundles.current()?.sequence, 1);
  const subscription = agent.x509.acquire(identityOf(agent), selectors);
  const svid = await subscription.ready();
  assert.equal(svid.identity.spiffeId.toString(), 'spiffe://td/web');
  assert.equal((await stat(directory)).mode & 0o777, 0o700);
  assert.equal((await stat(join(directory, 'agent-svid.json'))).mode & 0o777, 0o600);
  await assert.rejects(
    stat(join(directory, 'pending-request.json')),
    'an answered request leaves nothing pending',
  );
});

test('a request with a lost answer is repeated with the same key and ID, also after a restart', async (context) => {
  const server = await startServer(context);
  server.loseAnswers = 2;
  const directory = await directoryFor(context);
  const first = await startAgent(context, server, { directory });
  await until(() => server.attestations.length >= 1, 'an attestation');
  await first.stop();
  const second = await startAgent(context, server, { directory });
  await until(() => second.cache.synced(), 'the snapshot');
  assert.ok(server.attestations.length >= 3);
  assert.equal(new Set(server.attestations.map(({ requestId, spki }) => requestId + spki)).size, 1);
});

test('an agent with a kept SVID comes back without attesting', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const first = await startAgent(context, server, { directory });
  await until(() => first.cache.synced(), 'the snapshot');
  await first.stop();
  const second = await startAgent(context, server, { directory, nodeAttestation: {} });
  await until(() => second.cache.synced(), 'the snapshot');
  assert.equal(server.attestations.length, 1);
});

test('an agent whose SVID expired proves its last key and needs nobody', async (context) => {
  const server = await startServer(context);
  server.agentTtlSeconds = 1;
  const directory = await directoryFor(context);
  const first = await startAgent(context, server, { directory });
  await until(() => server.attestations.length === 1, 'the attestation');
  await first.stop();
  await past(Math.floor(Date.now() / 1000) + 1);
  server.agentTtlSeconds = 3600;
  const kept = JSON.parse(await readFile(join(directory, 'agent-svid.json'), 'utf8')) as {
    privateKey: string;
  };
  server.lastAgentKey = createPublicKey(
    createPrivateKey({ key: Buffer.from(kept.privateKey, 'base64'), format: 'der', type: 'pkcs8' }),
  );
  const second = await startAgent(context, server, { directory, nodeAttestation: {} });
  await until(() => second.cache.synced(), 'the snapshot');
  assert.equal(server.attestations.at(-1)?.method, 'expiredSvid');
});

test('a node certificate attests its node, and a challenge of another connection gets no signature', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const nodeCa = makeAuthority('nodes', { notBefore: seconds() - 60, notAfter: seconds() + 3600 });
  const node = makeCertificate({
    key: makeKey(),
    issuer: nodeCa,
    notBefore: seconds() - 60,
    notAfter: seconds() + 3600,
    extensions: leafExtensions(nodeCa),
  });
  const base = join(directory, '..');
  await writeFile(join(base, 'node.pem'), certificatesToPem([node.parsed.raw]));
  await writeFile(join(base, 'node.key'), pemEncode('PRIVATE KEY', pkcs8Of(node.key.privateKey)));
  server.corruptChallenge = true;
  const agent = await startAgent(context, server, {
    directory,
    nodeAttestation: {
      x509pop: { certificatePath: join(base, 'node.pem'), keyPath: join(base, 'node.key') },
    },
  });
  await until(
    () => agent.session.status().lastError?.code === 'SERVER_UNTRUSTED',
    'the refusal of the agent',
  );
  server.corruptChallenge = false;
  await until(() => agent.cache.synced(), 'the snapshot');
  assert.ok(server.attestations.every(({ method }) => method === 'x509pop'));
  const before = server.attestations.length;
  server.syncRefusal = 'AGENT_EVICTED';
  await server.stop();
  await server.restart();
  await until(() => server.attestations.length > before, 'a new attestation after the eviction');
  server.syncRefusal = undefined;
  await until(() => agent.session.connected(), 'the session');
  assert.equal(agent.session.status().barred, undefined);
});

test('a wrong server gets no token', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const agent = await startAgent(context, server, {
    directory,
    trust: { kind: 'fingerprint', rootsSha256Hex: ['00'.repeat(32)], issuers: issuersByMark },
  });
  await until(
    () => agent.session.status().lastError?.code === 'SERVER_UNTRUSTED',
    'the refusal of the agent',
  );
  assert.equal(server.attestations.length, 0);
});

test('the own SVID is renewed over its connection, and the next connection shows the new one without a gap', async (context) => {
  const server = await startServer(context);
  server.agentTtlSeconds = 15;
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  let gaps = 0;
  agent.session.onChange(() => {
    if (!agent.session.connected()) gaps += 1;
  });
  await until(() => server.sessions.length >= 3, 'two rotations');
  assert.equal(gaps, 0);
  assert.ok(server.renewals.length >= 2);
  const shown = server.clientSerials.filter((serial) => serial !== undefined);
  assert.equal(new Set(shown).size, shown.length, 'each connection shows another certificate');
});

test('a call that the next SVID of its agent overtakes is made again with that one', async (context) => {
  const server = await startServer(context);
  server.agentTtlSeconds = 15;
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  server.supersedes = () => until(() => server.sessions.length >= 2, 'the next session');
  const { token } = await agent.jwt.fetch(identityOf(agent), ['api'], selectors);
  assert.equal(token, 'token-2');
  const [first, second] = server.jwtCalls;
  assert.equal(first?.requestId, second?.requestId);
});

test('an agent whose call another process overtook is told, and does not ask again', async (context) => {
  const server = await startServer(context);
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  server.supersedes = async () => {};
  await assert.rejects(agent.jwt.fetch(identityOf(agent), ['api'], selectors), {
    code: 'AGENT_SUPERSEDED',
  });
  assert.equal(server.jwtCalls.length, 1);
});

test('a snapshot in pages replaces everything at once, and a reconnect asks from its position', async (context) => {
  const server = await startServer(context);
  server.entries = Array.from({ length: 2500 }, (_, index) =>
    wireEntry(`e${index}`, [`unix:uid:${index}`]),
  );
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  const sizes: number[] = [];
  agent.cache.onChange(() => sizes.push(agent.cache.size()));
  await until(() => agent.cache.synced(), 'the snapshot');
  assert.deepEqual(sizes, [2500]);
  server.change([wireEntry('new', ['unix:uid:9999'])], ['e0']);
  await until(() => agent.cache.get('new') !== undefined, 'the change');
  assert.equal(agent.cache.get('e0'), undefined);
  await server.stop();
  await until(() => !agent.session.connected(), 'the loss');
  await server.restart();
  await until(() => agent.session.connected() && server.session.up.length > 0, 'the reconnect');
  assert.deepEqual(server.session.up[0]?.hello?.position, { epoch: 'e1', revision: 2 });
  assert.equal(agent.cache.size(), 2500, 'nothing was lost meanwhile');
});

test('bundle steps are taken one after another under the keys held, and forged ones are not', async (context) => {
  const server = await startServer(context);
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  const first = server.jwtKeys[0];
  const second = newJwtKey('jwt-2');
  const forged = await server.bundleStep(2, newJwtKey('jwt-1'));
  server.session.call.write({ bundles: { steps: [forged], federated: [] } });
  const wrongType = await server.bundleStep(2, first, [], 'JWT');
  server.session.call.write({ bundles: { steps: [wrongType], federated: [] } });
  server.jwtKeys = [second];
  const extra = makeAuthority('next root', {
    notBefore: seconds() - 60,
    notAfter: seconds() + 3600,
  });
  const two = await server.bundleStep(2, first, [extra]);
  const three = await server.bundleStep(3, second, [extra]);
  // out of order: the second step can not be checked yet
  server.session.call.write({ bundles: { steps: [three], federated: [] } });
  server.session.call.write({ bundles: { steps: [two, three], federated: [] } });
  await until(() => agent.bundles.current()?.sequence === 3, 'the third bundle');
  assert.equal(agent.bundles.roots().length, 2);
  server.session.call.write({ bundles: { steps: [two], federated: [] } });
  server.change([wireEntry('marker', ['unix:uid:1'])]);
  await until(() => agent.cache.get('marker') !== undefined, 'the marker');
  assert.equal(agent.bundles.current()?.sequence, 3, 'never backwards');
});

test('foreign bundles come and go with the stream, and none stays under a server without federation', async (context) => {
  const server = await startServer(context);
  server.capabilities = ['federation'];
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  assert.ok(server.session.up[0]?.hello?.capabilities.includes('federation'));
  const send = (trustDomains: readonly string[], ...named: readonly string[]): void => {
    const bundles = named.map((name) => ({
      ...foreignDocument(name, 1, [createRoot(name)]),
      sequence: 1,
    }));
    server.session.call.write({ federated: { trustDomains: [...trustDomains], bundles } });
  };
  const names = (): string => [...agent.bundles.federated().keys()].join();
  send(['a.test', 'b.test'], 'a.test');
  send(['a.test', 'b.test'], 'b.test');
  await until(() => names() === 'a.test,b.test', 'both');
  send(['b.test']);
  await until(() => names() === 'b.test', 'the withdrawal');
  const step = await server.bundleStep(2, server.jwtKeys[0]);
  server.session.call.write({ bundles: { steps: [step], federated: [] } });
  await until(() => agent.bundles.current()?.sequence === 2, 'the own bundle');
  assert.equal(names(), 'b.test');
  await server.stop();
  await until(() => !agent.session.connected(), 'the loss');
  assert.equal(names(), 'b.test', 'an outage takes nothing');
  server.capabilities = [];
  await server.restart();
  await until(() => names() === '', 'nobody would withdraw it');
});

test('consumers are reported as a snapshot and then as changes, and serials once they are replaced', async (context) => {
  const server = await startServer(context);
  const agent = await startAgent(context, server, {
    directory: await directoryFor(context),
    random: { ...systemRandom, uniform: () => 0 },
  });
  const early = agent.consumers.register({
    kind: 'workload-stream',
    spiffeId: 'spiffe://td/web',
    description: 'a',
  });
  early.pending(Buffer.alloc(32, 1));
  await until(() => agent.cache.synced() && server.session.up.length >= 2, 'the snapshot');
  const reports = (): unknown[] =>
    server.session.up.flatMap(({ consumers }) => (consumers ? [consumers] : []));
  assert.equal(server.session.up[1]?.consumers?.snapshot, true);
  assert.equal(server.session.up[1]?.consumers?.consumers[0]?.state, 'pending');
  early.confirmed(Buffer.alloc(32, 2));
  early.confirmed(Buffer.alloc(32, 3));
  const fleeting = agent.consumers.register({
    kind: 'proxy',
    spiffeId: 'spiffe://td/x',
    description: 'b',
  });
  fleeting.remove();
  await until(() => reports().length === 2, 'one report');
  const [, change] = server.session.up.flatMap(({ consumers }) => (consumers ? [consumers] : []));
  assert.deepEqual(
    change?.consumers.map(({ state, authoritySetDigest }) => [state, authoritySetDigest[0]]),
    [['confirmed', 3]],
  );
  const subscription = agent.x509.acquire(identityOf(agent), selectors);
  const old = await subscription.ready();
  subscription.confirm(old.serial);
  server.change([wireEntry('web', ['unix:uid:1'], { revision: 2 })]);
  await until(() => subscription.current()?.serial !== old.serial, 'a new SVID');
  assert.equal(server.signCalls.at(-1)?.[0]?.replacesSerial, old.serial);
  assert.deepEqual(agent.replaced, []);
  subscription.confirm(subscription.current()?.serial ?? '');
  await until(
    () =>
      server.session.up.some(({ replacements }) =>
        replacements?.replacedSerials.includes(old.serial),
      ),
    'the replacement report',
  );
});

test('a banned agent gets nothing new, keeps what is valid, and says why', async (context) => {
  const server = await startServer(context);
  const agent = await startAgent(context, server, { directory: await directoryFor(context) });
  await until(() => agent.cache.synced(), 'the snapshot');
  const subscription = agent.x509.acquire(identityOf(agent), selectors);
  const svid = await subscription.ready();
  server.syncRefusal = 'AGENT_BANNED';
  await server.stop();
  await server.restart();
  await until(() => agent.session.status().barred?.code === 'AGENT_BANNED', 'the ban');
  assert.equal(subscription.current()?.serial, svid.serial);
  await assert.rejects(agent.jwt.fetch(identityOf(agent), ['a'], selectors), {
    code: 'AGENT_BANNED',
  });
});

test('an evicted agent does not try its used token again', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const agent = await startAgent(context, server, { directory });
  await until(() => agent.cache.synced(), 'the snapshot');
  server.syncRefusal = 'AGENT_EVICTED';
  await server.stop();
  await server.restart();
  await until(() => agent.session.status().barred?.code === 'AGENT_EVICTED', 'the eviction');
  assert.equal(server.attestations.length, 1, 'the used token is not tried again');
});

test('damaged or foreign state is refused with its file named, and an open key file too', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const agent = await startAgent(context, server, { directory });
  await until(() => agent.cache.synced(), 'the snapshot');
  await agent.stop();
  const file = join(directory, 'agent-svid.json');
  const good = await readFile(file, 'utf8');
  const state = await AgentState.open(directory, trustDomain, stateWrites());
  for (const bad of [
    '',
    '{',
    good.slice(0, 100),
    good.replace('"serial"', '"serail"'),
    JSON.stringify({
      ...JSON.parse(good),
      privateKey: pkcs8Of(makeKey().privateKey).toString('base64'),
    }),
  ]) {
    await writeFile(file, bad);
    await assert.rejects(
      state.credential(),
      (error: { code: string; message: string }) =>
        error.code === 'STATE_CORRUPT' && error.message.includes('agent-svid.json'),
    );
  }
  await writeFile(file, good);
  await assert.rejects(
    (await AgentState.open(directory, TrustDomain.of('other'), stateWrites())).credential(),
    {
      code: 'TRUST_DOMAIN_CHANGED',
    },
  );
  assert.ok((await state.credential()) !== undefined, 'the right name takes it as before');
  await chmod(file, 0o644);
  await assert.rejects(state.credential(), { code: 'STATE_UNUSABLE' });
  await rm(file);
  await symlink('/etc/hostname', file);
  await assert.rejects(state.credential(), { code: 'STATE_UNUSABLE' });
});

test('a state directory is narrowed to its owner, cleared of temporary files, and refused as a link', async (context) => {
  const directory = await directoryFor(context);
  await mkdir(directory, { mode: 0o755 });
  await writeFile(join(directory, '.0123456789abcdef.tmp'), 'half');
  await AgentState.open(directory, trustDomain, stateWrites());
  assert.equal((await stat(directory)).mode & 0o777, 0o700);
  assert.deepEqual(await readdir(directory), []);
  await symlink(directory, `${directory}-link`);
  await assert.rejects(AgentState.open(`${directory}-link`, trustDomain, stateWrites()), {
    code: 'STATE_UNUSABLE',
  });
});

test('a bundle of roots alone takes its first document over a verified connection only', async () => {
  const server = new FakeServer();
  const saved: string[] = [];
  const store = new BundleStore(trustDomain, silentLogger, {
    own: (json) => Promise.resolve(saved.push(json) > 0),
    federated: async () => true,
  });
  store.restore(rootsOnly([server.root.parsed.raw]));
  assert.equal(store.canVerifySteps(), false);
  await assert.rejects(store.advance([await server.bundleStep(1)]), { code: 'SERVER_UNTRUSTED' });
  await store.bootstrap(await server.bundleStep(1));
  assert.equal(store.current()?.sequence, 1);
  await assert.rejects(
    store.bootstrap(await server.bundleStep(2, newJwtKey('evil'))),
    { code: 'SERVER_UNTRUSTED' },
    'no second time',
  );
  assert.equal(unwrap(parseBundleDocument(saved[0] as string)).sequence, 1);
});

test('kept entries count for their agent only, and only whole', async (context) => {
  const directory = await directoryFor(context);
  await AgentState.open(directory, trustDomain, stateWrites());
  const cache = new SyncedEntryCache({ trustDomain, clock: systemClock, logger: silentLogger });
  const entries = Array.from({ length: 450 }, (_, index) =>
    entryOf(`e${index}`, [`unix:uid:${index}`], { placeholders: new Map([['unix.user', ['a']]]) }),
  );
  await saveEntries(directory, agentId, { epoch: 'e', revision: 7 }, entries);
  const loaded = await loadEntries(directory, agentId);
  assert.deepEqual(loaded?.position, { epoch: 'e', revision: 7 });
  assert.deepEqual(loaded?.entries, entries);
  assert.equal(await loadEntries(directory, 'spiffe://td/meshca/agent/other'), undefined);
  const file = join(directory, 'entries.ndjson');
  const text = await readFile(file, 'utf8');
  for (const bad of [
    text.slice(0, -20),
    text.split('\n').toSpliced(5, 1).join('\n'),
    'nonsense',
    '',
  ]) {
    await writeFile(file, bad);
    assert.equal(await loadEntries(directory, agentId), undefined);
  }
  const receiver = new EntriesReceiver(cache, { agentId, position: { epoch: 'e', revision: 7 } });
  receiver.begin(agentId);
  assert.equal(receiver.position?.revision, 7);
  receiver.begin('spiffe://td/meshca/agent/renamed');
  assert.equal(receiver.position, undefined);
});

test('pages that do not follow one another are refused, and a snapshot is asked for', () => {
  const page = {
    snapshotBegin: false,
    snapshotEnd: false,
    upserts: [],
    removedIds: [],
    position: null,
  };
  const cache = new SyncedEntryCache({ trustDomain, clock: systemClock, logger: silentLogger });
  const receiver = new EntriesReceiver(cache);
  receiver.begin(agentId);
  assert.throws(() => receiver.apply(page), { code: 'INVALID_REQUEST' });
  receiver.apply({ ...page, snapshotBegin: true });
  assert.equal(cache.synced(), false, 'a snapshot counts when it is whole');
  assert.throws(() => receiver.apply({ ...page, snapshotEnd: true }), { code: 'INVALID_REQUEST' });
  receiver.apply({
    ...page,
    snapshotBegin: true,
    snapshotEnd: true,
    position: { epoch: 'e', revision: 1 },
  });
  assert.equal(cache.synced(), true);
});

test('file targets are told only to a server that knows them', async (context) => {
  const targetReports = (server: FakeServer) =>
    server.session.up.flatMap((message) => (message.targets ? [message.targets] : []));
  for (const capabilities of [[], ['file-targets']]) {
    const server = await startServer(context);
    server.capabilities = capabilities;
    const agent = await startAgent(context, server, { directory: await directoryFor(context) });
    await until(() => agent.session.connected(), 'the session');
    const reports = () => server.session.up.filter(({ consumers }) => consumers).length;
    agent.consumers.register({
      ...{ kind: 'workload-stream', spiffeId: 'spiffe://td/web', description: 'a reader' },
    });
    await until(() => reports() >= 2, 'a report that comes after those of the beginning');
    assert.equal(targetReports(server).length, capabilities.length);
    assert.ok(server.session.up[0]?.hello?.capabilities.includes('file-targets'));
  }
});
