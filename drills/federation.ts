import { until } from '../test/support/until.ts';
import { Breaches, round, type Drill } from './drill.ts';
import {
  OurSide,
  SpireSide,
  type FederationPlan,
  type FederationSide,
} from './federation-sides.ts';

const longPlan: FederationPlan = { workloads: 10, lifeSeconds: 90, pauseMs: 500 };
/** Leaves live long enough that a machine that stands still for seconds lets none expire. */
const shortPlan: FederationPlan = { workloads: 3, lifeSeconds: 20, pauseMs: 250 };

/** SPIRE asks an endpoint every 15 s, and a new root signs after five times the hint. */
const hintForSpire = 5;

/** The first one trusts the others, and they trust it alone. The third one is SPIRE. */
type Sides = readonly [FederationSide, FederationSide, FederationSide | undefined];

/** Trust domains trust each other, rotate their roots at the same time, and part. */
export const federation: Drill = {
  name: 'federation',
  promise:
    'workloads of several trust domains talk in mTLS and by tokens while each rotates its root, ' +
    'without a failure; when one ends the trust, it refuses the other at once',
  options: [
    '--workloads N        real workload processes in each trust domain',
    '--life N             life of all leaves in seconds',
    '--spire-server PATH  a real SPIRE server as a further trust domain, with --spire-agent PATH',
    '--spire-agent PATH   its agent',
  ],
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const base = short ? shortPlan : longPlan;
    const plan: FederationPlan = {
      ...base,
      workloads: Number(options['workloads'] ?? base.workloads),
      lifeSeconds: Number(options['life'] ?? base.lifeSeconds),
    };
    await using stack = new AsyncDisposableStack();
    const sides = await open(plan, { stack, signal, options });
    const all = sides.filter((side) => side !== undefined);
    say(`${all.length} trust domains have the bundles of each other`);
    await talking(all, plan);
    say('workloads of all trust domains talk');
    const rotationSeconds = await Promise.all(
      all.map(async (side) => {
        const startedMs = performance.now();
        await side.rotate(all.filter((each) => each !== side && trusts(each, side, sides)));
        say(`${side.trustDomain} has a new root, and the old one is gone`);
        return round((performance.now() - startedMs) / 1000, 1);
      }),
    );
    await talking(all, plan);
    const before = await totals(all);
    for (const { failures, own, foreign } of before)
      breaches.expect(
        own.failed + foreign.failed === 0,
        `${own.failed + foreign.failed} visits failed: ${JSON.stringify(failures)}`,
      );
    const removedSeconds = await part(sides, { breaches, plan });
    say('the trust is ended, and each workload refuses the foreign ones');
    return {
      figures: {
        trustDomains: all.length,
        workloads: plan.workloads,
        visits: sum(before.map(({ own }) => own.succeeded)),
        foreignVisits: sum(before.map(({ foreign }) => foreign.succeeded)),
        failed: sum(before.map(({ own, foreign }) => own.failed + foreign.failed)),
        rotationSeconds,
        removedSeconds,
        leafLifeSeconds: plan.lifeSeconds,
      },
      broken: breaches.list,
    };
  },
};

const trusts = (side: FederationSide, other: FederationSide, [one]: Sides): boolean =>
  side === one || other === one;

/** Each side with its workloads, which visit each other. */
async function open(
  plan: FederationPlan,
  {
    stack,
    signal,
    options,
  }: {
    readonly stack: AsyncDisposableStack;
    readonly signal: AbortSignal;
    readonly options: Readonly<Record<string, string>>;
  },
): Promise<Sides> {
  const server = options['spire-server'];
  const hintSeconds = server === undefined ? 1 : hintForSpire;
  const [one, other] = await Promise.all([
    OurSide.open('one.test', { stack, signal, plan, hintSeconds }),
    OurSide.open('other.test', { stack, signal, plan, hintSeconds: 1 }),
  ]);
  const programs = server && { server, agent: options['spire-agent'] ?? '' };
  const others = [
    other,
    ...(programs ? [await SpireSide.open('spire.test', programs, { stack })] : []),
  ];
  for (const each of others) {
    await one.trust(await each.place('https_spiffe'), 'https_spiffe');
    await each.trust(await one.place('https_web'), 'https_web');
    await each.startWorkloads(plan, [one.trustDomain]);
  }
  await one.startWorkloads(
    plan,
    others.map(({ trustDomain }) => trustDomain),
  );
  one.workloads.visit(others.flatMap(({ workloads }) => workloads.ports));
  for (const each of others) each.workloads.visit(one.workloads.ports);
  return [one, other, others[1]];
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

const totals = (sides: readonly FederationSide[]) =>
  Promise.all(sides.map(({ workloads }) => workloads.traffic()));

/** Until each side has visited both trust domains several times more. */
async function talking(
  sides: readonly FederationSide[],
  { workloads }: FederationPlan,
): Promise<void> {
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

/** The trust ends: from then on nobody visits another trust domain. Returns the seconds. */
async function part(
  [one, other, spire]: Sides,
  { breaches, plan }: { readonly breaches: Breaches; readonly plan: FederationPlan },
): Promise<number> {
  const sides = [one, other, ...(spire === undefined ? [] : [spire])];
  const startedMs = performance.now();
  const lost = async (side: FederationSide, { trustDomain }: FederationSide): Promise<void> => {
    await side.distrust(trustDomain);
    await until(
      async () => (await side.workloads.mostRoots(trustDomain)) === 0,
      `no workload of ${side.trustDomain} trusts ${trustDomain}`,
    );
  };
  await lost(one, other);
  const seconds = round((performance.now() - startedMs) / 1000, 2);
  if (spire !== undefined) await lost(spire, one);
  // what was under way when the trust ended may still come to its end
  await refused(sides, plan);
  const before = await totals(sides);
  await refused(sides, plan);
  const after = await totals(sides);
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
async function refused(
  sides: readonly FederationSide[],
  { workloads }: FederationPlan,
): Promise<void> {
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
