import { X509Certificate } from 'node:crypto';
import { patienceMs } from '../test/support/until.ts';
import { Breaches, round, type Drill, type DrillContext } from './drill.ts';
import { passDeadline } from './laggard-deadline.ts';
import {
  confirmed,
  decidesToWait,
  done,
  lastActivation,
  namedLaggards,
  progress,
  reaches,
  rotate,
  seconds,
  signing,
  successor,
  type Lag,
} from './laggard-status.ts';
import { MtlsWorkloads } from './mtls-workloads.ts';
import { OutageNode } from './outage-node.ts';
import { createWorld, livesOf, trustDomain, type World } from './world.ts';

/**
 * A workload or an agent does not read. Then it reads again, dies, or is left behind by force or by
 * the deadline.
 */
export const laggard: Drill = {
  name: 'laggard',
  promise:
    'an authority waits for each who has not confirmed, by name, until he has, can not come ' +
    'back, or is left behind on record',
  options: [],
  async run({ short, say, signal }) {
    const breaches = new Breaches();
    const begunAt = Math.floor(Date.now() / 1000);
    // The short run uses lives that are long enough: no leaf expires on a machine that stands still
    // for seconds.
    const ttl = short ? 20 : 30;
    const deadlines = passDeadline(signal, breaches, say);
    deadlines.catch(() => undefined);
    await using world = await laggardWorld(ttl, signal);
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    await using near = new OutageNode(world, 'node-near');
    await using far = new OutageNode(world, 'node-far');
    for (const node of [near, far]) await joinWithEntry(world, node, ttl);
    await using steady = new MtlsWorkloads({ socketPath: near.socketPath, pauseMs: 250 });
    await using stopped = new MtlsWorkloads({ socketPath: near.socketPath, pauseMs: 250 });
    await using distant = new MtlsWorkloads({ socketPath: far.socketPath, pauseMs: 250 });
    await Promise.all([
      steady.start(2, signal),
      stopped.start(1, signal),
      distant.start(1, signal),
    ]);
    const scene = { world, near, far, stopped, begunAt, ttl, breaches, say, signal };
    // three workloads, and the agent itself
    await confirmed(world, near.agentId, 4);
    const figures = {
      ...(await stoppedWorkload(scene)),
      ...(await stoppedAgent(scene)),
      ...(await killedLaggards(scene)),
    };
    await leftBehindByForce(scene);
    const { handshakes, failed, failures } = steady.totals();
    breaches.expect(
      handshakes > 0 && failed === 0,
      `of the others' handshakes ${failed} of ${handshakes + failed} failed: ${JSON.stringify(failures)}`,
    );
    await server.stop();
    return {
      figures: {
        ...figures,
        deadlineSeconds: await deadlines,
        leafLifeSeconds: ttl,
        handshakes,
        failedHandshakes: failed,
      },
      broken: breaches.list,
    };
  },
};

/** What the acts of this drill share. */
interface Scene {
  readonly world: World;
  readonly near: OutageNode;
  readonly far: OutageNode;
  /** One workload of the near node. */
  readonly stopped: MtlsWorkloads;
  readonly begunAt: number;
  readonly ttl: number;
  readonly breaches: Breaches;
  readonly say: DrillContext['say'];
  readonly signal: AbortSignal;
}

const laggardWorld = (ttl: number, signal: AbortSignal): Promise<World> =>
  createWorld({
    signal,
    signers: 1,
    issuance: { ...livesOf(ttl), serverTtlSeconds: 60 },
    sections: { rotation: { automatic: false, retireMarginSeconds: 1, jwksCacheSeconds: 1 } },
  });

async function joinWithEntry(world: World, node: OutageNode, ttl: number): Promise<void> {
  await node.join({ port: world.port, lifeSeconds: ttl });
  await world.calls.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: `spiffe://${trustDomain}/${node.name}`,
        parentId: node.agentId,
        selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
      },
    ],
  });
}

const ofStopped =
  ({ near, stopped }: Scene) =>
  ({ agentId, description }: Lag): boolean =>
    agentId === near.agentId && description.includes(`pid ${stopped.pids[0]} `);

const waitingCodes = ['WAITING_CONFIRMATION'];

async function stoppedWorkload(scene: Scene): Promise<{ readonly resumedToActiveSeconds: number }> {
  const { world, near, stopped, begunAt, breaches, say } = scene;
  say('one workload is stopped (SIGSTOP) while a root is rotated');
  const before = await signing(world, 'root');
  stopped.signal('SIGSTOP');
  await rotate(world, 'root');
  const laggards = await namedLaggards(world, 'root', ofStopped(scene));
  breaches.expect(
    laggards.length === 1,
    `${laggards.length} consumers are named as lagging behind, stopped is one: ` +
      `${JSON.stringify(laggards.map(({ description, state }) => [description, state]))}`,
  );
  for (const { spiffeId, holds, lastSeenAt } of laggards) {
    breaches.expect(
      spiffeId === `spiffe://${trustDomain}/${near.name}` &&
        holds.length === 1 &&
        holds[0] === before &&
        lastSeenAt >= begunAt,
      `the stopped workload is named as ${spiffeId}, holding ${holds.join(', ')}, seen at ${lastSeenAt}`,
    );
  }
  await decidesToWait(world, 'root', waitingCodes);
  breaches.expect(
    (await successor(world, 'root')) === 'published',
    'the new root signs although a workload has not read it',
  );
  const resumedMs = performance.now();
  stopped.signal('SIGCONT');
  await reaches(world, 'root', 'active');
  const resumedToActiveSeconds = seconds(resumedMs);
  await done(world);
  return { resumedToActiveSeconds };
}

async function stoppedAgent({
  world,
  far,
  breaches,
  say,
}: Scene): Promise<{ readonly agentResumedToActiveSeconds: number }> {
  say('an agent is stopped while an intermediate is rotated; then it goes on');
  far.freezeAgent();
  await rotate(world, 'issuing');
  const laggards = await namedLaggards(world, 'issuing', ({ agentId }) => agentId === far.agentId);
  breaches.expect(
    laggards.some(({ consumerId }) => consumerId === ''),
    'the stopped agent is not named: ' +
      `${JSON.stringify(laggards.map(({ agentId, description }) => [agentId, description]))}`,
  );
  await decidesToWait(world, 'issuing', waitingCodes);
  breaches.expect(
    (await successor(world, 'issuing')) === 'published',
    'the new intermediate signs although an agent has not confirmed it',
  );
  const thawedMs = performance.now();
  far.thawAgent();
  await reaches(world, 'issuing', 'active');
  const agentResumedToActiveSeconds = seconds(thawedMs);
  await done(world);
  return { agentResumedToActiveSeconds };
}

async function killedLaggards(
  scene: Scene,
): Promise<{ readonly killedLeftOutAfterSeconds: number }> {
  const { world, far, stopped, ttl, breaches, say } = scene;
  say(
    'an agent and a workload are stopped while a root is rotated, and killed: they can not come back',
  );
  stopped.signal('SIGSTOP');
  far.freezeAgent();
  await rotate(world, 'root');
  const isStopped = ofStopped(scene);
  const laggards = await namedLaggards(
    world,
    'root',
    (lag) => lag.agentId === far.agentId || isStopped(lag),
  );
  breaches.expect(
    laggards.some(isStopped) && laggards.some(({ agentId }) => agentId === far.agentId),
    `named are ${JSON.stringify(laggards.map(({ agentId, description }) => [agentId, description]))}`,
  );
  // of the agent: its own SVID and all leaves issued through it; of the workload: the leaf that it
  // held
  const until = Math.max(
    ...laggards.filter(({ agentId }) => agentId === far.agentId).map((lag) => lag.until),
    ...stopped
      .totals()
      .chains.map(([leaf]) => new X509Certificate(leaf as Buffer).validToDate.getTime() / 1000),
  );
  stopped.signal('SIGKILL');
  await far.killAgent();
  const named = await progress(world, 'root');
  breaches.expect(
    named?.authority.state === 'active' || (named?.confirmation?.laggards ?? []).length > 0,
    'nobody is waited for although those who were killed may come back',
  );
  await reaches(world, 'root', 'active', patienceMs + ttl * 2000);
  const killedLeftOutAfterSeconds = round(Date.now() / 1000 - until, 1);
  breaches.expect(
    Date.now() / 1000 >= until,
    'those who were killed were left out while a leaf of theirs was valid',
  );
  await done(world);
  return { killedLeftOutAfterSeconds };
}

async function leftBehindByForce({ world, near, breaches, say, signal }: Scene): Promise<void> {
  say('a stopped workload is left behind by force');
  await using another = new MtlsWorkloads({ socketPath: near.socketPath, pauseMs: 250 });
  await another.start(1, signal);
  another.signal('SIGSTOP');
  await rotate(world, 'root');
  await namedLaggards(
    world,
    'root',
    ({ agentId, consumerId }) => agentId === near.agentId && consumerId !== '',
  );
  await world.calls.admin('Authorities/ContinueRotation', {
    kind: 'root',
    force: true,
    reason: 'drill: it is to be replaced',
  });
  await reaches(world, 'root', 'active');
  const forced = await lastActivation(world);
  breaches.expect(
    forced['without'] === 'forced' &&
      forced['reason'] === 'drill: it is to be replaced' &&
      forced['actor'] === `uid:${process.getuid?.() ?? 0}`,
    `the record of the forced step says ${JSON.stringify(forced)}`,
  );
  breaches.expect(
    Array.isArray(forced['laggards']) && forced['laggards'].length > 0,
    'the record of the forced step does not name who was left behind',
  );
  another.signal('SIGCONT');
  await done(world);
}
