import { createHash } from 'node:crypto';
import { residentMiB } from '../bench/cpu.ts';
import { Breaches, round, type Drill } from './drill.ts';
import {
  confirmed,
  decidesToWait,
  done,
  namedLaggards,
  reaches,
  rotate,
  signing,
} from './laggard-status.ts';
import { OutageNode } from './outage-node.ts';
import { SdsProxies } from './sds-proxies.ts';
import type { SeenStream, SentSecret } from './sds-proxy.ts';
import { createWorld, livesOf, trustDomain, type World } from './world.ts';

interface Plan {
  readonly processes: number;
  readonly connections: number;
  readonly lifeSeconds: number;
}
const longPlan: Plan = { processes: 10, connections: 50, lifeSeconds: 90 };
/** Certificates live long enough that a machine that stands still for seconds lets none expire. */
const shortPlan: Plan = { processes: 3, connections: 4, lifeSeconds: 60 };
/** From the first stream that is sent new roots to the last; in the tests the machine may be slow. */
const promisedUpdateMs = 1_000;

interface Scene {
  readonly world: World;
  readonly node: OutageNode;
  readonly proxies: SdsProxies;
  readonly plan: Plan;
  readonly breaches: Breaches;
  readonly say: (text: string) => void;
}

/** Proxies of one agent, while authorities rotate, one of them refuses, and agent and server end. */
export const sds: Drill = {
  name: 'sds',
  promise:
    'each proxy has its next certificate before the last one ends, and a root signs when ' +
    'all have acknowledged it, and not while one refuses it',
  options: [
    '--processes N        processes with proxies',
    '--connections N      proxies of each, with two streams',
  ],
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const base = short ? shortPlan : longPlan;
    const plan: Plan = {
      ...base,
      processes: Number(options['processes'] ?? base.processes),
      connections: Number(options['connections'] ?? base.connections),
    };
    await using world = await sdsWorld(plan, signal);
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    await using node = new OutageNode(world, 'node-proxies');
    await join(world, node, plan);
    const emptyMiB = residentMiB(node.agentPid);
    await using proxies = new SdsProxies(node.socketPath);
    proxies.start(plan.processes, plan.connections);
    const streams = plan.processes * plan.connections * 2;
    await proxies.each('each stream has a secret', ({ secrets }) => secrets.length > 0);
    // each process, and the agent itself
    await confirmed(world, node.agentId, plan.processes + 1);
    const kibPerStream = ((residentMiB(node.agentPid) - emptyMiB) * 1024) / streams;
    say(`${streams} streams have their secrets`);

    const scene: Scene = { world, node, proxies, plan, breaches, say };
    const root = await rotateRoot(scene);
    if (!short)
      breaches.expect(
        root.updateMs < promisedUpdateMs,
        `new roots reached the last stream ${root.updateMs} ms after the first`,
      );
    const agentBackSeconds = await restartAgent(scene);
    await server.stop();
    await world.start().ready;
    say('the server is back');
    await renewed(proxies);
    await done(world);
    say('each proxy has a certificate below the new root');
    const seen = (await proxies.seen()).flat();
    for (const stream of seen) checkLives(stream, breaches);
    return {
      figures: {
        processes: plan.processes,
        streams,
        secrets: seen.reduce((sum, { secrets }) => sum + secrets.length, 0),
        updateMs: root.updateMs,
        activeAfterLastMs: root.activeAfterLastMs,
        refused: root.refused,
        agentBackSeconds,
        kibPerStream: round(kibPerStream, 1),
      },
      broken: breaches.list,
    };
  },
};

const sdsWorld = ({ lifeSeconds }: Plan, signal: AbortSignal): Promise<World> =>
  createWorld({
    signal,
    signers: 1,
    issuance: livesOf(lifeSeconds),
    sections: { rotation: { automatic: false, retireMarginSeconds: 2, jwksCacheSeconds: 1 } },
  });

async function join(world: World, node: OutageNode, { lifeSeconds }: Plan): Promise<void> {
  await node.join({ port: world.port, lifeSeconds });
  await world.calls.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: `spiffe://${trustDomain}/proxy`,
        parentId: node.agentId,
        selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
      },
    ],
  });
}

/** One process refuses the new root first. */
async function rotateRoot({ world, proxies, breaches, say }: Scene): Promise<{
  readonly updateMs: number;
  readonly activeAfterLastMs: number;
  readonly refused: number;
}> {
  const before = await signing(world, 'root');
  const known = new Set(digests(await world.calls.learnRoots()));
  proxies.send(0, { type: 'refuse roots' });
  await rotate(world, 'root');
  const refuses = `pid ${proxies.pids[0]} `;
  await namedLaggards(
    world,
    'root',
    ({ state, description }) => state === 'refused' && description.includes(refuses),
  );
  await decidesToWait(world, 'root', ['WAITING_CONFIRMATION']);
  breaches.expect(
    (await signing(world, 'root')) === before,
    'a root signs while a proxy refuses it',
  );
  say('one process refuses the new root, and is named');
  const [refusing = []] = await proxies.seen();
  for (const { secrets } of refusing) {
    const versions = secrets.filter(({ refused }) => refused).map(({ version }) => version);
    breaches.expect(
      new Set(versions).size === versions.length,
      'what a proxy refused was sent again',
    );
  }
  proxies.send(0, { type: 'accept' });
  await reaches(world, 'root', 'active');
  const activeMs = await lastActiveMs(world);
  const isNew = ({ refused, certificates }: SentSecret): boolean =>
    !refused && certificates.some((each) => fresh.has(each));
  const fresh = new Set(digests(await world.calls.learnRoots()).filter((each) => !known.has(each)));
  const seen = await proxies.seen();
  const tookAt = (processes: readonly (readonly SeenStream[])[]): readonly number[] =>
    processes
      .flat()
      .filter(({ name }) => name === 'ROOTCA')
      .map(({ secrets }) => secrets.find(isNew)?.atMs ?? Infinity);
  const all = tookAt(seen);
  const late = all.filter((atMs) => atMs > activeMs).length;
  breaches.expect(late === 0, `a root signed before ${late} streams had acknowledged it`);
  const ready = tookAt(seen.slice(1));
  say('the new root signs');
  return {
    updateMs: Math.max(...ready) - Math.min(...ready),
    activeAfterLastMs: activeMs - Math.max(...all),
    refused: refusing.filter(({ secrets }) => secrets.some(({ refused }) => refused)).length,
  };
}

/** As when the power of the agent alone fails. Resolves with the seconds until all have come back. */
async function restartAgent({ node, proxies, world, plan, say }: Scene): Promise<number> {
  await node.killAgent();
  const startedMs = Date.now();
  node.startAgent();
  await proxies.each('each stream is back', ({ secrets }) =>
    secrets.some(({ atMs }) => atMs >= startedMs),
  );
  const seconds = (Date.now() - startedMs) / 1000;
  await confirmed(world, node.agentId, plan.processes + 1);
  say('the agent was killed, and each stream is back');
  return round(seconds);
}

/** Each stream for certificates gets one that it did not have. */
async function renewed(proxies: SdsProxies): Promise<void> {
  const held = new Set(
    (await proxies.seen())
      .flat()
      .filter(({ name }) => name === 'default')
      .flatMap(({ secrets }) => secrets.map(({ version }) => version)),
  );
  await proxies.each(
    'each proxy has a new certificate',
    ({ name, secrets }) => name !== 'default' || !held.has(secrets.at(-1)?.version ?? ''),
  );
}

function checkLives({ name, secrets }: SeenStream, breaches: Breaches): void {
  if (name !== 'default') return;
  secrets.forEach(({ notAfterMs }, index) => {
    const nextMs = secrets[index + 1]?.atMs ?? Date.now();
    breaches.expect(nextMs <= notAfterMs, 'a proxy had no valid certificate for a while');
  });
}

const digests = (certificates: readonly Buffer[]): readonly string[] =>
  certificates.map((der) => createHash('sha256').update(der).digest('hex'));

async function lastActiveMs(world: World): Promise<number> {
  const { records } = await world.calls.admin('Audit/ListAuditRecords', {
    page: { size: 1000 },
    kind: 'authority.active',
  });
  return (records as { timeMs: number }[]).at(-1)?.timeMs ?? 0;
}
