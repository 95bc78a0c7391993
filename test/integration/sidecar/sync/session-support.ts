import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { systemClock, systemRandom, type Random } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { BundleStore } from '../../../../sidecar/bundle/index.ts';
import { SyncedEntryCache } from '../../../../sidecar/cache/index.ts';
import { IssuerConnection, type ServerTrust } from '../../../../sidecar/issuer-client/index.ts';
import {
  AgentIdentity,
  configuredEvidence,
  nodeAttestorTypes,
  type NodeAttestorConfiguration,
} from '../../../../sidecar/node-attestation/index.ts';
import { AgentState, CheckpointKeeper, LostState } from '../../../../sidecar/state/index.ts';
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
import {
  defer,
  FakeServer,
  issuersByMark,
  joinToken,
  wireEntry,
} from '../../../support/agent-fake-server.ts';
import { stateWrites } from '../../../support/state-writes.ts';
import { patienceMs } from '../../../support/until.ts';

export const trustDomain = TrustDomain.of('td');
export const selectors = [{ type: 'unix', value: 'uid:1' }];
export const seconds = (): number => Math.floor(Date.now() / 1000);

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

export async function directoryFor(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-agent-'));
  defer(context, () => rm(directory, { recursive: true, force: true }));
  return join(directory, 'state');
}

// oxlint-disable-next-line test-sizes/function-lines -- one agent, part by part
export async function startAgent(
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

export async function startServer(context: TestContext): Promise<FakeServer> {
  const server = new FakeServer();
  server.entries = [wireEntry('web', ['unix:uid:1'])];
  await server.start();
  defer(context, () => server.stop());
  return server;
}

export const identityOf = (agent: Agent) =>
  agent.cache.match(selectors)[0] as NonNullable<ReturnType<SyncedEntryCache['match']>[0]>;
