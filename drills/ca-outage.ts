import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { returnShare, survivedOutageSeconds } from '../sidecar/schedule/index.ts';
import { patienceMs } from '../test/support/until.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { Forwarder } from './forwarder.ts';
import { OutageNode } from './outage-node.ts';
import { createWorld, trustDomain, type World } from './world.ts';

interface Plan {
  /** Life of the workloads' SVIDs. */
  readonly lifeSeconds: number;
  readonly outageSeconds: number;
  /** Life of the own SVID of the agents that are away for longer than it. */
  readonly agentLifeSeconds: number;
  readonly nodes: number;
  readonly identities: number;
  /**
   * The largest share of the renewals on return in an eightieth of a life. The schedule gives 0.24
   * for SVIDs of all ages; a herd has 1.
   */
  readonly peakShare: number;
}

/**
 * The outage that is promised for these lives, less the longest wait before a reconnect, since an
 * agent can't be faster than its own backoff. In the short plan the lives are long enough for a
 * machine that stands still for seconds before, during or after the outage.
 */
const plans: Readonly<Record<'short' | 'long', Plan>> = {
  short: {
    lifeSeconds: 90,
    outageSeconds: 46,
    agentLifeSeconds: 9,
    nodes: 2,
    identities: 20,
    peakShare: 0.5,
  },
  long: {
    lifeSeconds: 120,
    outageSeconds: 66,
    agentLifeSeconds: 40,
    nodes: 4,
    identities: 100,
    peakShare: 0.35,
  },
};

/**
 * The CA is killed and comes back. The forwarder makes the outage exact, however long a start of
 * the server takes.
 */
export const caOutage: Drill = {
  name: 'ca-outage',
  promise:
    'in the promised outage no SVID expires in use, renewals spread on return, agents come back unattended',
  options: [],
  // oxlint-disable-next-line max-lines-per-function -- one scene, act by act
  async run({ short, say, signal }) {
    const plan = plans[short ? 'short' : 'long'];
    const breaches = new Breaches();
    const startedMs = performance.now();
    const promisedSeconds = survivedOutageSeconds(plan.lifeSeconds);
    if (
      plan.outageSeconds > promisedSeconds ||
      plan.outageSeconds <= plan.lifeSeconds / 2 ||
      plan.agentLifeSeconds >= plan.outageSeconds
    )
      throw new Error('the plan does not play the promise');
    const pause = (seconds: number): Promise<void> => sleep(seconds * 1000, undefined, { signal });

    const issuance = { defaultTtlSeconds: plan.lifeSeconds };
    await using world = await createWorld({
      signal,
      issuance: { ...issuance, agentTtlSeconds: 3_600 },
    });
    await using forwarder = new Forwarder(world.port);
    await forwarder.up();
    await using stack = new AsyncDisposableStack();
    const join = async (name: string): Promise<OutageNode> => {
      const node = stack.use(new OutageNode(world, name));
      await node.join({ port: forwarder.port, lifeSeconds: plan.lifeSeconds });
      return node;
    };

    let server = world.start();
    await server.ready;
    const nodes = await Promise.all(
      Array.from({ length: plan.nodes }, (_, index) => join(`node-${index + 1}`)),
    );
    // from here on agents get short lives of their own, and agents that have joined keep theirs;
    // this precedes the first SVID, since a restart is an outage too, and two in a row exceed the
    // promise
    await server.stop();
    await world.configure({ ...issuance, agentTtlSeconds: plan.agentLifeSeconds });
    server = world.start();
    await server.ready;
    const [during, after] = (await Promise.all([
      join('rebooted-during'),
      join('rebooted-after'),
    ])) as [OutageNode, OutageNode];
    await Promise.all(
      [during, after].map(async (node) => {
        await createEntries(world, node, 0, 3);
        await node.startClient(3);
      }),
    );
    say(
      `${nodes.length} agents joined; ${plan.identities} identities each, of all ages, life ${plan.lifeSeconds} s`,
    );
    const groups = 5;
    for (let group = 0; group < groups; group += 1) {
      await Promise.all(
        nodes.map((node) => createEntries(world, node, group, plan.identities / groups)),
      );
      if (group === 0)
        await Promise.all(nodes.map((node) => node.startClient(plan.identities / groups)));
      await pause((plan.lifeSeconds * 0.33) / groups);
    }
    await Promise.all(nodes.map((node) => node.holds(plan.identities)));
    breaches.expect(
      nodes.every(({ report }) => report.expired.length === 0),
      'an SVID expired before the outage',
    );
    const heldBefore = new Map([during, after].map((node) => [node, node.serials()]));
    const updatesBefore = nodes.map(({ report }) => report.updates);

    say(`the CA is killed for ${plan.outageSeconds} s (promised ${promisedSeconds} s)`);
    const [outMs, outWallMs] = [performance.now(), Date.now()];
    await forwarder.down();
    await after.killAgent();
    await server.kill();
    // a start takes seconds, on a busy machine many; nobody reaches the server before the forwarder
    // is up
    server = world.start();
    await pause(plan.agentLifeSeconds + 1.5 - (performance.now() - outMs) / 1000);
    say('the own SVIDs of two agents have expired; one of them is rebooted while the CA is away');
    await during.killAgent();
    during.startAgent();
    await server.ready;
    await pause(Math.max(0, plan.outageSeconds - (performance.now() - outMs) / 1000));
    const outage = (performance.now() - outMs) / 1000;
    const backMs = Date.now();
    await forwarder.up();
    after.startAgent();
    breaches.expect(outage > plan.lifeSeconds / 2, 'the outage was no longer than half a life');
    say(`the CA is back after ${outage.toFixed(2)} s`);

    const recoveryMs = performance.now();
    await Promise.all(
      [during, after].map((node) =>
        node
          .replaced(heldBefore.get(node) as ReadonlySet<string>, 3)
          .catch((thrown: Error) =>
            breaches.add(
              `${node.name} did not come back unattended: ${thrown.message.slice(0, 120)}`,
            ),
          ),
      ),
    );
    const recovery = (performance.now() - recoveryMs) / 1000;
    // the schedule plans renewals at the latest after a quarter of the rest of a life; a node that
    // is later than the life has let its SVID expire
    let spread = renewalsAfter(world, nodes, backMs, plan.lifeSeconds);
    for (
      const lastMs = performance.now() + patienceMs;
      spread.renewals < plan.nodes * plan.identities && performance.now() < lastMs;
    ) {
      await pause(0.2);
      spread = renewalsAfter(world, nodes, backMs, plan.lifeSeconds);
    }
    // the last renewal must reach its workload
    await Promise.all(
      nodes.map((node) =>
        node
          .holds(plan.identities)
          .catch((thrown: Error) => breaches.add(thrown.message.slice(0, 200))),
      ),
    );
    // if the machine has made the outage longer than promised, only SVIDs with that much life left
    // must survive it
    const owed = (notAfterMs: number): boolean =>
      outage <= promisedSeconds ||
      notAfterMs - outWallMs >= (outage + plan.lifeSeconds * returnShare) * 1000;
    const lapsed = nodes
      .flatMap(({ report }) => report.expired)
      .filter(({ notAfterMs }) => owed(notAfterMs));
    const expired = lapsed.length;
    const held = nodes.reduce(
      (sum, { report }) =>
        sum + report.held.filter(({ notAfterMs }) => notAfterMs > Date.now()).length,
      0,
    );
    breaches.expect(
      expired === 0,
      `${expired} SVIDs expired in use: ${lapsed.map(({ spiffeId }) => history(world, spiffeId, backMs)).join('; ')}`,
    );
    breaches.expect(
      held === plan.nodes * plan.identities,
      `after the outage ${held} of ${plan.nodes * plan.identities} identities are held`,
    );
    breaches.expect(
      nodes.every(
        (node, index) =>
          node.agentAlive() && node.report.updates > (updatesBefore[index] as number),
      ),
      'an agent brought nothing new after the outage',
    );
    breaches.expect(
      spread.renewals >= plan.nodes * plan.identities,
      `${spread.renewals} of ${plan.nodes * plan.identities} renewals came after the outage`,
    );
    breaches.expect(
      spread.peakShare <= plan.peakShare,
      `${Math.round(spread.peakShare * 100)} % of the renewals came within ${spread.windowSeconds} s`,
    );
    const recovered = recoveredAgents(world);
    for (const node of [during, after])
      breaches.expect(
        recovered.has(node.agentId),
        `${node.name} did not recover with its expired SVID`,
      );
    await server.stop();
    return {
      figures: {
        seconds: round((performance.now() - startedMs) / 1000, 1),
        lifeSeconds: plan.lifeSeconds,
        promisedSeconds,
        plannedOutageSeconds: plan.outageSeconds,
        outageSeconds: round(outage),
        identities: plan.nodes * plan.identities,
        expiredInUse: expired,
        closestToExpirySeconds: round(
          Math.min(...nodes.map(({ report }) => report.closestMs)) / 1000,
        ),
        spread,
        agentLifeSeconds: plan.agentLifeSeconds,
        unattendedRecoverySeconds: round(recovery),
        broken: breaches.list,
      },
      broken: breaches.list,
    };
  },
};

/** Entries of one group on one node, for processes of this user. */
async function createEntries(
  world: World,
  node: OutageNode,
  group: number,
  count: number,
): Promise<void> {
  const { results } = await world.calls.admin('Entries/CreateEntries', {
    entries: Array.from({ length: count }, (_, index) => ({
      id: `${node.name}-${group}-${index}`,
      spiffeId: `spiffe://${trustDomain}/${node.name}/service-${group}-${index}`,
      parentId: node.agentId,
      selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
    })),
  });
  const problem = (results as { problem?: { message: string } }[]).find(
    (result) => result.problem,
  )?.problem;
  if (problem) throw new Error(problem.message);
}

export interface Spread {
  readonly renewals: number;
  readonly windowSeconds: number;
  /** Share of all renewals in the fullest window of that length. */
  readonly peakShare: number;
  readonly perWindow: readonly number[];
  readonly firstSeconds: number;
  readonly lastSeconds: number;
}

/**
 * When the server made certificates for these nodes after its return, from its record. The window
 * is an eightieth of a life.
 */
function renewalsAfter(
  world: World,
  nodes: readonly OutageNode[],
  backMs: number,
  lifeSeconds: number,
): Spread {
  const database = new DatabaseSync(world.databasePath, { readOnly: true, timeout: patienceMs });
  try {
    const rows = database
      .prepare(
        'SELECT created_at_ms AS at, holder, spiffe_id AS id FROM certificates WHERE state ' +
          "= 'issued' AND kind = 'workload' AND created_at_ms >= ? ORDER BY created_at_ms",
      )
      .all(backMs) as { at: number; holder: string; id: string }[];
    const seen = new Set<string>();
    const times = rows
      .filter(
        ({ holder, id }) =>
          nodes.some(({ agentId }) => agentId === holder) && !seen.has(id) && seen.add(id),
      )
      .map(({ at }) => (at - backMs) / 1000);
    const windowSeconds = lifeSeconds / 80;
    const perWindow: number[] = [];
    for (const time of times)
      perWindow[Math.floor(time / windowSeconds)] =
        (perWindow[Math.floor(time / windowSeconds)] ?? 0) + 1;
    // the fullest window, at any start
    const peak = Math.max(
      0,
      ...times.map(
        (from) => times.filter((time) => time >= from && time < from + windowSeconds).length,
      ),
    );
    return {
      renewals: times.length,
      windowSeconds,
      peakShare: times.length === 0 ? 1 : round(peak / times.length),
      perWindow: Array.from(perWindow, (count) => count ?? 0),
      firstSeconds: round(times[0] ?? 0),
      lastSeconds: round(times.at(-1) ?? 0),
    };
  } finally {
    database.close();
  }
}

/** When the certificates of an identity were made, in seconds from the end of the outage. */
function history(world: World, spiffeId: string, backMs: number): string {
  const database = new DatabaseSync(world.databasePath, { readOnly: true, timeout: patienceMs });
  try {
    const rows = database
      .prepare(
        'SELECT created_at_ms AS at, state FROM certificates WHERE spiffe_id = ? ORDER BY sequence',
      )
      .all(spiffeId) as { at: number; state: string }[];
    return (
      `${spiffeId.split('/').slice(3).join('/')} ` +
      `${rows.map(({ at, state }) => `${state} ${((at - backMs) / 1000).toFixed(1)}`).join(', ')}`
    );
  } finally {
    database.close();
  }
}

function recoveredAgents(world: World): ReadonlySet<string> {
  const database = new DatabaseSync(world.databasePath, { readOnly: true, timeout: patienceMs });
  try {
    return new Set(
      (
        database.prepare("SELECT subject FROM audit WHERE kind = 'agent.recovered'").all() as {
          subject: string;
        }[]
      ).map(({ subject }) => subject),
    );
  } finally {
    database.close();
  }
}
