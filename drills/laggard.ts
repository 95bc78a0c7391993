import { X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { SimAgent } from '../test/support/sim-agent.ts';
import { patienceMs } from '../test/support/until.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { MtlsWorkloads } from './mtls-workloads.ts';
import { OutageNode } from './outage-node.ts';
import { createWorld, trustDomain, type World } from './world.ts';

/**
 * Somebody does not read: a workload, an agent; then he reads, dies, is left behind by force, or by
 * the deadline.
 */
export const laggard: Drill = {
  name: 'laggard',
  promise:
    'an authority waits for each who has not confirmed, by name, until he has, can not come back, or is left behind on record',
  options: [],
  async run({ short, say, signal }) {
    const breaches = new Breaches();
    const begunAt = Math.floor(Date.now() / 1000);
    // in the short run too long enough that a machine that stands still for seconds lets no leaf
    // expire
    const ttl = short ? 20 : 30;
    const issuance = {
      minimumTtlSeconds: 2,
      defaultTtlSeconds: ttl,
      maximumTtlSeconds: ttl,
      agentTtlSeconds: ttl,
      serverTtlSeconds: 60,
      bundleRefreshHintSeconds: 1,
    };
    const figures: Record<string, number> = {};
    const deadlines = deadline(signal, breaches, say);
    deadlines.catch(() => undefined);
    await using world = await createWorld({
      signal,
      signers: 1,
      issuance,
      sections: { rotation: { automatic: false, retireMarginSeconds: 1, jwksCacheSeconds: 1 } },
    });
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    await using near = new OutageNode(world, 'node-near');
    await using far = new OutageNode(world, 'node-far');
    for (const node of [near, far]) {
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
    await using steady = new MtlsWorkloads({ socketPath: near.socketPath, pauseMs: 250 });
    await using stopped = new MtlsWorkloads({ socketPath: near.socketPath, pauseMs: 250 });
    await using distant = new MtlsWorkloads({ socketPath: far.socketPath, pauseMs: 250 });
    await Promise.all([
      steady.start(2, signal),
      stopped.start(1, signal),
      distant.start(1, signal),
    ]);
    const [stoppedPid] = stopped.pids as [number];
    const ofStopped = (each: Lag): boolean =>
      each.agentId === near.agentId && each.description.includes(`pid ${stoppedPid} `);

    // three workloads, and the agent itself
    await confirmed(world, near.agentId, 4);
    say('one workload is stopped (SIGSTOP) while a root is rotated');
    const before = await signing(world, 'root');
    stopped.signal('SIGSTOP');
    await rotate(world, 'root');
    const first = await namedLaggards(world, 'root', ofStopped);
    breaches.expect(
      first.length === 1,
      `${first.length} consumers are named as lagging behind, stopped is one: ${JSON.stringify(first.map(({ description, state }) => [description, state]))}`,
    );
    for (const { spiffeId, holds, lastSeenAt } of first) {
      breaches.expect(
        spiffeId === `spiffe://${trustDomain}/${near.name}` &&
          holds.length === 1 &&
          holds[0] === before &&
          lastSeenAt >= begunAt,
        `the stopped workload is named as ${spiffeId}, holding ${holds.join(', ')}, seen at ${lastSeenAt}`,
      );
    }
    await sleep(2_000, undefined, { signal });
    breaches.expect(
      (await successor(world, 'root')) === 'published',
      'the new root signs although a workload has not read it',
    );
    const resumedMs = performance.now();
    stopped.signal('SIGCONT');
    await reaches(world, 'root', 'active');
    figures['resumedToActiveSeconds'] = seconds(resumedMs);
    await done(world);

    say('an agent is stopped while an intermediate is rotated; then it goes on');
    far.freezeAgent();
    await rotate(world, 'issuing');
    const second = await namedLaggards(world, 'issuing', (each) => each.agentId === far.agentId);
    breaches.expect(
      second.some(({ consumerId }) => consumerId === ''),
      `the stopped agent is not named: ${JSON.stringify(second.map(({ agentId, description }) => [agentId, description]))}`,
    );
    await sleep(1_000, undefined, { signal });
    breaches.expect(
      (await successor(world, 'issuing')) === 'published',
      'the new intermediate signs although an agent has not confirmed it',
    );
    const thawedMs = performance.now();
    far.thawAgent();
    await reaches(world, 'issuing', 'active');
    figures['agentResumedToActiveSeconds'] = seconds(thawedMs);
    await done(world);

    say(
      'an agent and a workload are stopped while a root is rotated, and killed: they can not come back',
    );
    stopped.signal('SIGSTOP');
    far.freezeAgent();
    await rotate(world, 'root');
    const third = await namedLaggards(
      world,
      'root',
      (each) => each.agentId === far.agentId || ofStopped(each),
    );
    breaches.expect(
      third.some(ofStopped) && third.some(({ agentId }) => agentId === far.agentId),
      `named are ${JSON.stringify(third.map(({ agentId, description }) => [agentId, description]))}`,
    );
    // of the agent: its own SVID and all leaves issued through it; of the workload: the leaf that
    // it held
    const until = Math.max(
      ...third.filter(({ agentId }) => agentId === far.agentId).map((each) => each.until),
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
    figures['killedLeftOutAfterSeconds'] = round(Date.now() / 1000 - until, 1);
    breaches.expect(
      Date.now() / 1000 >= until,
      'those who were killed were left out while a leaf of theirs was valid',
    );
    await done(world);

    say('a stopped workload is left behind by force');
    await using another = new MtlsWorkloads({ socketPath: near.socketPath, pauseMs: 250 });
    await another.start(1, signal);
    another.signal('SIGSTOP');
    await rotate(world, 'root');
    await namedLaggards(
      world,
      'root',
      (each) => each.agentId === near.agentId && each.consumerId !== '',
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

/**
 * A deadline a few seconds ahead: the margin is all of the intermediate's life but that. First
 * nothing but an alert, then, configured so, without the one who lags.
 */
async function deadline(
  signal: AbortSignal,
  breaches: Breaches,
  say: (text: string) => void,
): Promise<number> {
  const ttl = 90;
  // what comes before the alert has to be done by then, and it plays beside the rest
  const ahead = 45;
  const issuance = {
    minimumTtlSeconds: 2,
    defaultTtlSeconds: ttl,
    maximumTtlSeconds: ttl,
    agentTtlSeconds: ttl,
    serverTtlSeconds: ttl,
    bundleRefreshHintSeconds: 1,
  };
  const sections = (onDeadline: string): object => ({
    authorities: { issuing: { lifeDays: 1 } },
    rotation: {
      automatic: false,
      retireMarginSeconds: 1,
      jwksCacheSeconds: 1,
      onDeadline,
      marginSeconds: 86_400 - ttl - ahead,
    },
  });
  const startedMs = performance.now();
  await using world = await createWorld({
    signal,
    signers: 1,
    issuance,
    sections: sections('alert'),
  });
  const server = world.start();
  await server.ready;
  await world.calls.learnRoots();
  await using agent = await SimAgent.join(
    {
      rootsDer: world.calls.rootsDer,
      port: world.port,
      joinAgent: (name) => world.calls.joinAgent(name),
    },
    'sim',
    [],
  );
  agent.freeze();
  await rotate(world, 'issuing');
  await namedLaggards(world, 'issuing', (each) => each.agentId === agent.credential.spiffeId);
  const alerted = (code: string) => async (): Promise<boolean> =>
    (await world.calls.admin('Authorities/GetRotationStatus'))['notes'].some(
      (note: any) => note.code === code && note.alert === true,
    );
  await eventually(
    alerted('DEADLINE_NEAR'),
    patienceMs + ahead * 1000,
    'an alert before the deadline',
  );
  await eventually(
    alerted('DEADLINE_PASSED'),
    patienceMs + ahead * 1000,
    'an alert at the deadline',
  );
  await sleep(1_500, undefined, { signal });
  breaches.expect(
    (await successor(world, 'issuing')) === 'published',
    'past the deadline it went on, configured was an alert',
  );
  say('the deadline passed with an alert; now it is configured to go on');
  await server.stop();
  await world.configure(issuance, sections('proceed'));
  const next = world.start();
  await next.ready;
  await reaches(world, 'issuing', 'active');
  const record = await lastActivation(world);
  breaches.expect(
    record['without'] === 'deadline' &&
      Array.isArray(record['laggards']) &&
      record['laggards'].includes(agent.credential.spiffeId),
    `the record of the step past the deadline says ${JSON.stringify(record)}`,
  );
  await next.stop();
  return seconds(startedMs);
}

interface Lag {
  readonly agentId: string;
  readonly consumerId: string;
  readonly spiffeId: string;
  readonly description: string;
  readonly holds: readonly string[];
  readonly lastSeenAt: number;
  readonly state: string;
  readonly until: number;
}

const successors = new WeakMap<World, Map<string, string>>();

async function rotate(world: World, kind: string): Promise<void> {
  const { operations } = await world.calls.admin('Authorities/RotateAuthorities', {
    kind,
    reason: 'drill',
  });
  const known = successors.get(world) ?? new Map<string, string>();
  known.set(
    kind,
    (operations as { kind: string; successorId: string }[]).find((each) => each.kind === kind)
      ?.successorId ?? '',
  );
  successors.set(world, known);
}

async function progress(world: World, kind: string): Promise<any> {
  const id = successors.get(world)?.get(kind);
  return (await world.calls.admin('Authorities/GetRotationStatus'))['authorities'].find(
    (each: any) => each.authority.id === id,
  );
}

const signing = async (world: World, kind: string): Promise<string> =>
  (await world.calls.admin('Authorities/GetRotationStatus'))['authorities'].find(
    (each: any) => each.authority.kind === kind && each.authority.state === 'active',
  ).authority.id;

const successor = async (world: World, kind: string): Promise<string> =>
  (await progress(world, kind))?.authority.state ?? 'none';

const reaches = (world: World, kind: string, state: string, withinMs = patienceMs): Promise<void> =>
  eventually(
    async () => (await successor(world, kind)) === state,
    withinMs,
    `the new ${kind} authority is ${state}`,
  );
/** Nothing is under way, and nothing follows: the intermediate stands under the root that signs. */
const done = (world: World, withinMs = patienceMs): Promise<void> =>
  eventually(
    async () => {
      const status = await world.calls.admin('Authorities/GetRotationStatus');
      const active = (kind: string): any =>
        status['authorities'].find(
          ({ authority }: any) => authority.kind === kind && authority.state === 'active',
        )?.authority;
      return (
        status['operations'].length === 0 && active('issuing')?.parentId === active('root')?.id
      );
    },
    withinMs,
    'nothing is under way',
  );

/** Waits until each consumer of the node has confirmed what it was given. */
const confirmed = (world: World, spiffeId: string, consumers: number): Promise<void> =>
  eventually(
    async () => {
      const agent = await world.calls.admin('Agents/GetAgent', { spiffeId });
      const states: readonly any[] = agent['consumers'];
      return states.length >= consumers && states.every(({ state }) => state === 'confirmed');
    },
    patienceMs,
    `the consumers of ${spiffeId} have confirmed`,
  );

/** Waits until all who lag are of that kind, and there is one. */
async function namedLaggards(
  world: World,
  kind: string,
  expected: (each: Lag) => boolean,
): Promise<readonly Lag[]> {
  let laggards: readonly Lag[] = [];
  await eventually(
    async () => {
      const { authority, confirmation } = (await progress(world, kind)) ?? {
        authority: { state: '' },
      };
      laggards = confirmation?.laggards ?? [];
      return authority.state === 'published' && laggards.length > 0 && laggards.every(expected);
    },
    patienceMs,
    `only the expected lag behind: ${JSON.stringify(laggards)}`,
  );
  return laggards;
}

async function lastActivation(world: World): Promise<Record<string, unknown>> {
  const { records } = await world.calls.admin('Audit/ListAuditRecords', {
    page: { size: 1000 },
    kind: 'authority.active',
  });
  const { detail, actor } = JSON.parse(
    (records.at(-1).canonical as Buffer).toString('utf8').split('\n')[1] as string,
  );
  return { ...detail, actor };
}

async function eventually(
  check: () => Promise<boolean>,
  withinMs: number,
  what: string,
): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!(await check())) {
    if (performance.now() > endMs) throw new Error(`not within ${withinMs / 1000} s: ${what}`);
    await sleep(100);
  }
}

const seconds = (sinceMs: number): number => round((performance.now() - sinceMs) / 1000, 1);
