import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { webPair } from '../test/support/bundle-endpoint.ts';
import { freePorts } from '../test/support/ports.ts';
import { productEntry } from '../test/support/product.ts';
import { createRoot } from '../test/support/test-pki.ts';
import { until } from '../test/support/until.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { FederationWorkloads } from './federation-workloads.ts';
import { OutageNode } from './outage-node.ts';
import { runNode } from './run-node.ts';
import { createWorld, livesOf, type World } from './world.ts';

interface Plan {
  readonly workloads: number;
  readonly lifeSeconds: number;
  readonly pauseMs: number;
}
const longPlan: Plan = { workloads: 10, lifeSeconds: 90, pauseMs: 500 };
/** Leaves live long enough that a machine that stands still for seconds lets none expire. */
const shortPlan: Plan = { workloads: 3, lifeSeconds: 20, pauseMs: 250 };

interface Side {
  readonly world: World;
  readonly node: OutageNode;
  readonly workloads: FederationWorkloads;
  readonly endpoints: { readonly web: number; readonly spiffe: number };
}

const webRoot = createRoot('web.test');

/** Two trust domains trust each other, rotate their roots one after the other, and part. */
export const federation: Drill = {
  name: 'federation',
  promise:
    'workloads of two trust domains talk in mTLS and by tokens while each rotates its root, ' +
    'without a failure; when one ends the trust, it refuses the other at once',
  options: [
    '--workloads N        real workload processes in each trust domain',
    '--life N             life of all leaves in seconds',
  ],
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const base = short ? shortPlan : longPlan;
    const plan: Plan = {
      ...base,
      workloads: Number(options['workloads'] ?? base.workloads),
      lifeSeconds: Number(options['life'] ?? base.lifeSeconds),
    };
    await using stack = new AsyncDisposableStack();
    const [one, other] = await Promise.all([
      openSide('one.test', plan, { stack, signal }),
      openSide('other.test', plan, { stack, signal }),
    ]);
    await federate(one, other, 'https_spiffe');
    await federate(other, one, 'https_web');
    say('each server has the bundle of the other');
    await startWorkloads(one, other, plan);
    await startWorkloads(other, one, plan);
    one.workloads.visit(other.workloads.ports);
    other.workloads.visit(one.workloads.ports);
    await talking([one, other], plan);
    say('workloads of both trust domains talk');
    const seconds: number[] = [];
    for (const side of [one, other]) {
      seconds.push(await rotate(side, { breaches, plan, signal }));
      await talking([one, other], plan);
      say(`${side.world.trustDomain} has a new root, and the old one is gone`);
    }
    const before = await totals([one, other]);
    for (const { failures, own, foreign } of before)
      breaches.expect(
        own.failed + foreign.failed === 0,
        `${own.failed + foreign.failed} visits failed: ${JSON.stringify(failures)}`,
      );
    const removedSeconds = await remove(one, other, { breaches, plan });
    say('the trust is ended, and each workload refuses the foreign ones');
    return {
      figures: {
        workloads: plan.workloads,
        visits: sum(before.map(({ own }) => own.succeeded)),
        foreignVisits: sum(before.map(({ foreign }) => foreign.succeeded)),
        failed: sum(before.map(({ own, foreign }) => own.failed + foreign.failed)),
        rotationSeconds: seconds,
        removedSeconds,
        leafLifeSeconds: plan.lifeSeconds,
      },
      broken: breaches.list,
    };
  },
};

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

async function openSide(
  trustDomain: string,
  { lifeSeconds }: Plan,
  { stack, signal }: { readonly stack: AsyncDisposableStack; readonly signal: AbortSignal },
): Promise<Side> {
  const [web = 0, spiffe = 0] = await freePorts(2);
  const world = stack.use(
    await createWorld({ trustDomain, signal, signers: 1, issuance: livesOf(lifeSeconds) }),
  );
  const pair = webPair(webRoot);
  const [certFile, keyFile] = [join(world.dir, 'web.pem'), join(world.dir, 'web.key')];
  await writeFile(certFile, pair.cert);
  await writeFile(keyFile, pair.key, { mode: 0o600 });
  await world.configure(livesOf(lifeSeconds), {
    rotation: { automatic: false, retireMarginSeconds: 2, jwksCacheSeconds: 1 },
    federation: {
      ...{ pollMinimumSeconds: 1, pollMaximumSeconds: 2 },
      ...{ web: { port: web, certFile, keyFile }, spiffe: { port: spiffe } },
    },
  });
  await world.start().ready;
  await world.calls.learnRoots();
  const node = stack.use(new OutageNode(world, 'node'));
  await node.join({ port: world.port, lifeSeconds });
  const workloads = stack.use(new FederationWorkloads());
  return { world, node, workloads, endpoints: { web, spiffe } };
}

async function federate(
  { world }: Side,
  to: Side,
  profile: 'https_spiffe' | 'https_web',
): Promise<void> {
  const { trustDomain } = to.world;
  const { bundleJson } = await to.world.calls.admin('Authorities/GetBundle');
  await world.calls.admin('Federation/CreateRelationship', {
    trustDomain,
    endpointProfile: profile,
    ...(profile === 'https_spiffe'
      ? {
          endpointUrl: `https://localhost:${to.endpoints.spiffe}/`,
          endpointSpiffeId: `spiffe://${trustDomain}/meshca/server`,
          bundleDocument: Buffer.from(bundleJson as string),
        }
      : {
          endpointUrl: `https://localhost:${to.endpoints.web}/`,
          webRootsDer: [webRoot.certificateDer],
        }),
  });
  await until(async () => {
    const { polls } = await world.calls.admin('Federation/GetRelationship', { trustDomain });
    return polls?.refreshedAt > 0 && polls.failures === 0;
  }, `the bundle of ${trustDomain}`);
}

async function startWorkloads(side: Side, to: Side, plan: Plan): Promise<void> {
  const { world, node, workloads } = side;
  const foreignDomain = to.world.trustDomain;
  await world.calls.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: `spiffe://${world.trustDomain}/workload`,
        parentId: node.agentId,
        selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
        federatesWith: [foreignDomain],
      },
    ],
  });
  const { pauseMs } = plan;
  await workloads.start(plan.workloads, {
    ...{ socketPath: node.socketPath, pauseMs, foreignDomain },
  });
}

const totals = (sides: readonly Side[]) =>
  Promise.all(sides.map(({ workloads }) => workloads.traffic()));

/** Until each side has visited both trust domains several times more. */
async function talking(sides: readonly Side[], { workloads }: Plan): Promise<void> {
  const before = await totals(sides);
  await until(async () => {
    const now = await totals(sides);
    return now.every(({ own, foreign }, index) => {
      const { own: ownBefore, foreign: foreignBefore } = before[index] as (typeof before)[number];
      return (
        own.succeeded >= ownBefore.succeeded + 2 * workloads &&
        foreign.succeeded >= foreignBefore.succeeded + 2 * workloads
      );
    });
  }, 'workloads of both trust domains talk');
}

/** Root and intermediate, until the old ones are retired. Returns the seconds. */
async function rotate(
  { world }: Side,
  {
    breaches,
    plan,
    signal,
  }: { readonly breaches: Breaches; readonly plan: Plan; readonly signal: AbortSignal },
): Promise<number> {
  const before = await world.calls.learnRoots();
  const startedMs = performance.now();
  const { code, stderr } = await runNode(
    [
      ...[productEntry, '--server-socket', world.adminSocketPath, 'authority', 'rotate'],
      ...['--kind', 'root', '--until', 'retired', '--reason', 'drill', '--json'],
    ],
    (plan.lifeSeconds * 6 + 300) * 1000,
    signal,
  );
  breaches.expect(code === 0, `meshca authority rotate ended with ${code}: ${stderr.slice(-500)}`);
  const roots = await world.calls.learnRoots();
  breaches.expect(
    roots.length === 1 && !before.some((der) => der.equals(roots[0] as Buffer)),
    'the bundle is not the new root alone',
  );
  return round((performance.now() - startedMs) / 1000, 1);
}

/** The first side ends the trust: from then on neither visits the other. Returns the seconds. */
async function remove(
  one: Side,
  other: Side,
  { breaches, plan }: { readonly breaches: Breaches; readonly plan: Plan },
): Promise<number> {
  const startedMs = performance.now();
  await one.world.calls.admin('Federation/DeleteRelationship', {
    trustDomain: other.world.trustDomain,
    reason: 'drill',
  });
  await until(
    async () => (await one.workloads.traffic()).trusting === 0,
    'no workload trusts the foreign trust domain',
  );
  const seconds = round((performance.now() - startedMs) / 1000, 2);
  // what was under way when the trust ended may still come to its end
  await refused([one, other], plan);
  const before = await totals([one, other]);
  await refused([one, other], plan);
  const after = await totals([one, other]);
  for (const [index, { own, foreign }] of after.entries()) {
    const { foreign: foreignBefore } = before[index] as (typeof before)[number];
    breaches.expect(
      foreign.succeeded === foreignBefore.succeeded,
      `${foreign.succeeded - foreignBefore.succeeded} visits succeeded after the trust was ended`,
    );
    breaches.expect(own.failed === 0, `${own.failed} visits in one trust domain failed`);
  }
  return seconds;
}

/** Until each side was refused several times more, and still talks with itself. */
async function refused(sides: readonly Side[], { workloads }: Plan): Promise<void> {
  const before = await totals(sides);
  await until(async () => {
    const now = await totals(sides);
    return now.every(({ own, foreign }, index) => {
      const { own: ownBefore, foreign: foreignBefore } = before[index] as (typeof before)[number];
      return (
        foreign.failed >= foreignBefore.failed + 2 * workloads &&
        own.succeeded >= ownBefore.succeeded + workloads
      );
    });
  }, 'foreign visits are refused');
}
