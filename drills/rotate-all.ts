import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SimAgent } from '../test/support/sim-agent.ts';
import { until } from '../test/support/until.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { MtlsWorkloads } from './mtls-workloads.ts';
import { OutageNode } from './outage-node.ts';
import { runNode } from './run-node.ts';
import { createWorld, livesOf, trustDomain, type World } from './world.ts';
import { productEntry } from '../test/support/product.ts';

interface Plan {
  readonly workloads: number;
  readonly agents: number;
  readonly lifeSeconds: number;
  readonly pauseMs: number;
}
const longPlan: Plan = { workloads: 50, agents: 200, lifeSeconds: 90, pauseMs: 1_000 };
/** Leaves live long enough that a machine that stands still for seconds lets none expire. */
const shortPlan: Plan = { workloads: 6, agents: 20, lifeSeconds: 16, pauseMs: 250 };
/** From published to active with everybody healthy; in the tests the machine may be slow. */
const promisedActivationSeconds = { short: 120, long: 30 };

/**
 * One command rotates the intermediate, then the root with another intermediate, while traffic
 * flows.
 */
export const rotateAll: Drill = {
  name: 'rotate-all',
  promise:
    'intermediate and root are rotated under mTLS traffic without a failed handshake, and the old ones end',
  options: [
    '--workloads N        real workload processes',
    '--agents N           simulated agents beside the real one',
    '--life N             life of all leaves in seconds',
  ],
  // oxlint-disable-next-line max-lines-per-function -- one scene, act by act
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const base = short ? shortPlan : longPlan;
    const plan: Plan = {
      ...base,
      workloads: Number(options['workloads'] ?? base.workloads),
      agents: Number(options['agents'] ?? base.agents),
      lifeSeconds: Number(options['life'] ?? base.lifeSeconds),
    };
    const ttl = plan.lifeSeconds;
    await using world = await createWorld({
      signal,
      signers: 1,
      issuance: livesOf(ttl),
      sections: { rotation: { automatic: false, retireMarginSeconds: 2, jwksCacheSeconds: 1 } },
    });
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    await using node = new OutageNode(world, 'node-real');
    await node.join({ port: world.port, lifeSeconds: ttl });
    await world.calls.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: `spiffe://${trustDomain}/workload`,
          parentId: node.agentId,
          selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
        },
      ],
    });
    await using workloads = new MtlsWorkloads({
      socketPath: node.socketPath,
      pauseMs: plan.pauseMs,
    });
    await workloads.start(plan.workloads, signal);
    say(`${plan.workloads} workloads talk to each other`);
    await using agents = await Agents.join(world, plan, signal);
    say(`${plan.agents} more agents are connected`);
    await sleep(2_000, undefined, { signal });

    const before = await facts(world);
    const startedMs = performance.now();
    const command = await runNode(
      [
        productEntry,
        '--server-socket',
        world.adminSocketPath,
        'authority',
        'rotate',
        '--kind',
        'issuing',
        '--kind',
        'root',
        '--until',
        'retired',
        '--reason',
        'drill',
        '--json',
      ],
      (ttl * 6 + 300) * 1000,
      signal,
    );
    const seconds = (performance.now() - startedMs) / 1000;
    breaches.expect(
      command.code === 0,
      `meshca authority rotate ended with ${command.code}: ${command.stderr.slice(-500)}`,
    );
    say(`the command took ${seconds.toFixed(1)} s`);
    // a little more of traffic, on the new authorities alone
    await sleep(2_000, undefined, { signal });
    await workloads.reported();
    const talked = workloads.totals().handshakes;
    await until(async () => {
      await workloads.reported();
      return workloads.totals().handshakes >= talked + 2 * plan.workloads;
    }, 'they talk on');

    const after = await facts(world);
    const { handshakes, failed, failures, chains } = workloads.totals();
    breaches.expect(handshakes > 0, 'no handshake took place');
    breaches.expect(failed === 0, `${failed} handshakes failed: ${JSON.stringify(failures)}`);
    breaches.expect(
      after.rootsDer.length === 1 &&
        !before.rootsDer.some((der) => der.equals(after.rootsDer[0] as Buffer)),
      'the bundle is not the new root alone',
    );
    for (const id of before.active)
      breaches.expect(
        ['retired', 'revoked'].includes(after.states.get(id) ?? ''),
        `authority ${id} is ${after.states.get(id)}`,
      );
    breaches.expect(
      agents.problems === 0,
      `${agents.problems} calls of agents failed: ${agents.lastProblem}`,
    );
    const refused = await verifyAll(chains, after.rootsDer[0] as Buffer);
    breaches.expect(
      refused === 0,
      `OpenSSL does not verify ${refused} of ${chains.length} chains under the new root alone`,
    );
    const rotations = await activations(world, before.active);
    for (const each of rotations)
      breaches.expect(
        each.publishToActiveSeconds < promisedActivationSeconds[short ? 'short' : 'long'],
        `the ${each.kind} authority was published ${each.publishToActiveSeconds} s before it signed`,
      );
    await server.stop();
    return {
      figures: {
        seconds: round(seconds, 1),
        handshakes,
        failedHandshakes: failed,
        workloads: plan.workloads,
        agents: plan.agents + 1,
        rotations,
        verifiedByOpenssl: chains.length - refused,
        leafLifeSeconds: ttl,
      },
      broken: breaches.list,
    };
  },
};

interface Facts {
  readonly rootsDer: readonly Buffer[];
  readonly active: readonly string[];
  readonly states: ReadonlyMap<string, string>;
}

async function facts(world: World): Promise<Facts> {
  const { authorities } = await world.calls.admin('Authorities/ListAuthorities');
  const rows = (authorities as { id: string; kind: string; state: string }[]).filter(
    ({ kind }) => kind === 'root' || kind === 'issuing',
  );
  return {
    rootsDer: await world.calls.learnRoots(),
    active: rows.filter(({ state }) => state === 'active').map(({ id }) => id),
    states: new Map(rows.map(({ id, state }) => [id, state])),
  };
}

/** When each new authority was published and when it signed, from the log. */
async function activations(
  world: World,
  old: readonly string[],
): Promise<readonly { readonly kind: string; readonly publishToActiveSeconds: number }[]> {
  const times = async (
    kind: string,
  ): Promise<Map<string, { timeMs: number; authorityKind: string }>> => {
    const { records } = await world.calls.admin('Audit/ListAuditRecords', {
      page: { size: 1000 },
      kind,
    });
    return new Map(
      (records as { subject: string; timeMs: number; canonical: Buffer }[]).map((record) => [
        record.subject,
        {
          timeMs: record.timeMs,
          authorityKind: JSON.parse(record.canonical.toString('utf8').split('\n')[1] as string)
            .detail.authorityKind,
        },
      ]),
    );
  };
  const published = await times('authority.published');
  return [...(await times('authority.active'))]
    .filter(([id]) => !old.includes(id))
    .flatMap(([id, { timeMs, authorityKind }]) => {
      const from = published.get(id);
      return from === undefined || !['root', 'issuing'].includes(authorityKind)
        ? []
        : [{ kind: authorityKind, publishToActiveSeconds: round((timeMs - from.timeMs) / 1000) }];
    });
}

/** Owner of the simulated agents: they renew their SVIDs and hold what they are handed. */
class Agents implements AsyncDisposable {
  problems = 0;
  lastProblem = '';
  readonly #agents: readonly SimAgent[];
  readonly #stop = new AbortController();
  readonly #loops: readonly Promise<void>[];

  constructor(agents: readonly SimAgent[], lifeSeconds: number) {
    this.#agents = agents;
    this.#loops = agents.map((agent) => this.#keep(agent, lifeSeconds));
  }

  static async join(world: World, plan: Plan, signal: AbortSignal): Promise<Agents> {
    const server = {
      rootsDer: world.calls.rootsDer,
      port: world.port,
      joinAgent: (name: string) => world.calls.joinAgent(name),
    };
    const agents: SimAgent[] = [];
    for (let joined = 0; joined < plan.agents; joined += 10) {
      signal.throwIfAborted();
      agents.push(
        ...(await Promise.all(
          Array.from({ length: Math.min(10, plan.agents - joined) }, (_, index) =>
            SimAgent.join(server, `sim-${joined + index}`, ['web']),
          ),
        )),
      );
    }
    return new Agents(agents, plan.lifeSeconds);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#loops);
    for (const agent of this.#agents) await agent[Symbol.asyncDispose]();
  }

  /** At a third of the life, as agents do; a problem is tried again while there is time. */
  async #keep(agent: SimAgent, lifeSeconds: number): Promise<void> {
    // not all at once at first
    let delayMs = Math.random() * lifeSeconds * 333;
    for (;;) {
      await sleep(delayMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
      if (this.#stop.signal.aborted) return;
      try {
        await agent.renewSelf();
        delayMs = lifeSeconds * 333 * (0.8 + 0.4 * Math.random());
      } catch (thrown) {
        if (this.#stop.signal.aborted) return;
        this.problems += 1;
        this.lastProblem = String(thrown);
        delayMs = 1_000;
      }
    }
  }
}

async function verifyAll(chains: readonly (readonly Buffer[])[], rootDer: Buffer): Promise<number> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-verify-'));
  try {
    const pem = (der: Buffer): string => new X509Certificate(der).toString();
    await writeFile(join(dir, 'root.pem'), pem(rootDer));
    let refused = 0;
    for (const [leaf, ...above] of chains) {
      await writeFile(join(dir, 'leaf.pem'), pem(leaf as Buffer));
      await writeFile(join(dir, 'above.pem'), above.map(pem).join(''));
      const { status } = spawnSync('openssl', [
        'verify',
        '-CAfile',
        join(dir, 'root.pem'),
        '-no-CApath',
        '-no-CAstore',
        '-untrusted',
        join(dir, 'above.pem'),
        join(dir, 'leaf.pem'),
      ]);
      if (status !== 0) refused += 1;
    }
    return refused;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
