import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../test/support/until.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { ProvisionClients } from './provision-clients.ts';
import {
  chosenServers,
  ProvisionServers,
  type ServerName,
  serverNames,
} from './provision-servers.ts';
import { OutageNode } from './outage-node.ts';
import { runNode } from './run-node.ts';
import type { LoadFigures } from './server-load.ts';
import { createWorld, livesOf, type World } from './world.ts';
import { productEntry } from '../test/support/product.ts';

interface Plan {
  readonly servers: readonly ServerName[];
  readonly lifeSeconds: number;
  readonly pauseMs: number;
  readonly renewals: number;
}
/** Certificates live long enough that a machine that stands still for seconds lets none expire. */
const longPlan = { lifeSeconds: 60, pauseMs: 20, renewals: 3 };
const shortPlan = { lifeSeconds: 30, pauseMs: 150, renewals: 1 };
/** From the end of the time that the server has until its files are back; tests may be slow. */
const promisedBackSeconds = { short: 60, long: 5 };

interface Scene {
  readonly world: World;
  readonly node: OutageNode;
  readonly servers: ProvisionServers;
  readonly clients: ProvisionClients;
  readonly plan: Plan;
  readonly breaches: Breaches;
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Servers that read files, under traffic, while certificates, intermediate and root change. */
export const provision: Drill = {
  name: 'provision',
  promise:
    'servers that read files take new certificates and roots under mutual TLS without a failed handshake, and one that does not goes back by itself',
  options: [
    `--servers A,B        of ${serverNames.join(', ')}`,
    '--renewals N         renewals before the rotation',
    '--life N             life of all leaves in seconds',
    '--pause N            milliseconds between two handshakes at a server',
  ],
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const base = short ? shortPlan : longPlan;
    const plan: Plan = {
      servers: chosenServers(options['servers']),
      lifeSeconds: Number(options['life'] ?? base.lifeSeconds),
      pauseMs: Number(options['pause'] ?? base.pauseMs),
      renewals: Number(options['renewals'] ?? base.renewals),
    };
    await using world = await provisionWorld(plan, signal);
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    await using node = new OutageNode(world, 'node-files');
    await using servers = await ProvisionServers.start(world, node, plan);
    say(`${plan.servers.join(', ')} serve what the agent wrote`);
    await using clients = new ProvisionClients(node.socketPath, plan.pauseMs, servers.served);
    const scene: Scene = { world, node, servers, clients, plan, breaches, say, signal };
    await seen(scene, 1);

    const renewalSeconds = await renew(scene);
    const rotationSeconds = await rotate(scene);
    const back = await refuse(scene, short);
    const figures = await clients.figures();
    judge(scene, figures);
    await server.stop();
    return {
      figures: {
        servers: plan.servers,
        leafLifeSeconds: plan.lifeSeconds,
        renewalSeconds,
        rotationSeconds,
        ...back,
        handshakes: sum(figures, ({ handshakes }) => handshakes),
        answers: sum(figures, ({ answers }) => answers),
        reopened: Object.fromEntries(
          Object.entries(figures).map(([name, { reopened }]) => [name, reopened]),
        ),
        askedAgain: sum(figures, ({ askedAgain }) => askedAgain),
        failed: sum(figures, ({ failed }) => failed),
        certificates: sum(figures, ({ serials }) => serials.length),
      },
      broken: breaches.list,
    };
  },
};

const provisionWorld = ({ lifeSeconds: ttl }: Plan, signal: AbortSignal): Promise<World> =>
  createWorld({
    signal,
    signers: 1,
    issuance: livesOf(ttl),
    sections: { rotation: { automatic: false, retireMarginSeconds: 2, jwksCacheSeconds: 1 } },
  });

const sum = (
  figures: Readonly<Record<string, LoadFigures>>,
  of: (figures: LoadFigures) => number,
): number => Object.values(figures).reduce((total, each) => total + of(each), 0);

/** Waits until the clients of each server have seen that many certificates. */
async function seen({ clients, plan, signal }: Scene, certificates: number): Promise<void> {
  let figures: Readonly<Record<string, LoadFigures>> = {};
  try {
    await until(
      async () => {
        signal.throwIfAborted();
        figures = await clients.figures();
        const all = Object.values(figures);
        return (
          all.length === plan.servers.length &&
          all.every(({ serials }) => serials.length >= certificates)
        );
      },
      `each server shows ${certificates} certificates`,
      patienceFor(plan),
    );
  } catch (thrown) {
    throw new Error(JSON.stringify(figures), { cause: thrown });
  }
}

const patienceFor = ({ lifeSeconds, renewals }: Plan): number =>
  (lifeSeconds * (renewals + 1) + 120) * 1000;

async function renew(scene: Scene): Promise<number> {
  const { plan, say, clients } = scene;
  const startedMs = performance.now();
  const most = Math.max(
    ...Object.values(await clients.figures()).map(({ serials }) => serials.length),
  );
  await seen(scene, most + plan.renewals);
  const seconds = (performance.now() - startedMs) / 1000;
  say(`${plan.renewals} renewals at each server took ${seconds.toFixed(1)} s`);
  return round(seconds, 1);
}

/** Intermediate and root, until the old ones are retired. */
async function rotate(scene: Scene): Promise<number> {
  const { world, plan, breaches, say, signal, servers } = scene;
  const before = await world.calls.learnRoots();
  const startedMs = performance.now();
  const command = await runNode(
    [
      productEntry,
      ...['--server-socket', world.adminSocketPath, 'authority', 'rotate'],
      ...['--kind', 'issuing', '--kind', 'root', '--until', 'retired'],
      ...['--reason', 'drill', '--json'],
    ],
    (plan.lifeSeconds * 8 + 300) * 1000,
    signal,
  );
  const seconds = (performance.now() - startedMs) / 1000;
  breaches.expect(
    command.code === 0,
    `meshca authority rotate ended with ${command.code}: ${command.stderr.slice(-500)}`,
  );
  const [root, ...others] = await world.calls.learnRoots();
  breaches.expect(
    others.length === 0 && root !== undefined && !before.some((der) => der.equals(root)),
    'the bundle is not the new root alone',
  );
  await until(
    () => servers.all().every((each) => each.hasExactly(root === undefined ? [] : [root])),
    'each set on disk has the new root alone',
    patienceFor(plan),
  );
  say(`intermediate and root were rotated in ${seconds.toFixed(1)} s`);
  return round(seconds, 1);
}

interface WayBack {
  /** From the end of the time that the server had until `current` named the set before. */
  readonly backSeconds: number;
  /** From then on until the server, which listens again, had the next set. */
  readonly againSeconds: number;
}

/** A master of nginx that is stopped reloads nothing, and its workers serve on. */
async function refuse(
  { node, servers, plan, breaches, say, signal }: Scene,
  short: boolean,
): Promise<WayBack> {
  const deaf = servers.all().find(({ name }) => name === 'nginx');
  if (deaf === undefined) return { backSeconds: 0, againSeconds: 0 };
  await until(async () => (await node.target('nginx')).state === 'proven', 'nginx is in order');
  const master = Number(readFileSync(deaf.pidFile, 'utf8'));
  const served = deaf.directory.currentSerial;
  process.kill(master, 'SIGSTOP');
  let [swappedAtMs, backAtMs] = [0, 0];
  try {
    await until(
      () => deaf.directory.currentSerial !== served,
      'the next set is swapped in',
      patienceFor(plan),
    );
    swappedAtMs = performance.now();
    await until(
      () => deaf.directory.currentSerial === served,
      'the files are back',
      patienceFor(plan),
    );
    backAtMs = performance.now();
  } finally {
    process.kill(master, 'SIGCONT');
  }
  signal.throwIfAborted();
  const backSeconds = (backAtMs - swappedAtMs) / 1000 - servers.limitSeconds;
  breaches.expect(
    backSeconds < promisedBackSeconds[short ? 'short' : 'long'],
    `the files were back ${backSeconds.toFixed(1)} s after the time of the server was over`,
  );
  say(`a server that does not listen had its files back after ${backSeconds.toFixed(1)} s`);
  await until(
    async () => {
      const { state } = await node.target('nginx');
      return state === 'proven' && deaf.directory.currentSerial !== served;
    },
    'nginx has the next set',
    patienceFor(plan),
  );
  await sleep(1_000, undefined, { signal });
  return {
    backSeconds: round(backSeconds, 1),
    againSeconds: round((performance.now() - backAtMs) / 1000, 1),
  };
}

function judge({ breaches, plan }: Scene, figures: Readonly<Record<string, LoadFigures>>): void {
  for (const name of plan.servers) {
    const seenThere = figures[name];
    breaches.expect(seenThere !== undefined && seenThere.handshakes > 0, `${name}: no handshake`);
    for (const [text, count] of Object.entries(seenThere?.failures ?? {}))
      breaches.add(`${name}: ${text} (${count})`);
    // sessions of these are never closed by a new certificate; a worker of the others that a
    // reload ends may close a connection before its first request (RFC 9112 section 9.3.1)
    if (name !== 'postgresql' && name !== 'redis') continue;
    breaches.expect(
      seenThere?.askedAgain === 0,
      `${name} closed ${seenThere?.askedAgain} new connections without an answer`,
    );
    breaches.expect(seenThere?.reopened === 0, `${name} closed its kept session`);
  }
}
