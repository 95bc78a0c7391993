import { fileURLToPath } from 'node:url';
import { BenchChild } from './child.ts';
import { median, type Figure } from './figures.ts';
import { oneRound, planOf, workloadId, type Case, type Round } from './issuance.ts';
import { startProduct, type Product } from './product.ts';

const cases: readonly Case[] = [
  {
    name: 'audit.unary',
    what:
      'whole issuance with the audit log and its checks, against the same without: agent API, ' +
      'one certificate per call, 32 calls in flight; CPU of all server processes',
    goal: 1.1,
    perCall: 1,
    inFlight: 32,
    caller: 'agent',
  },
  {
    name: 'audit.batch100',
    what: 'the same, 100 certificates per call, 4 calls in flight',
    goal: 1.1,
    perCall: 100,
    inFlight: 4,
    caller: 'agent',
  },
];

interface Side {
  readonly product: Product;
  readonly loads: readonly BenchChild[];
  readonly rounds: Round[][];
}

interface AuditCostOptions {
  readonly execPath: string;
  readonly short: boolean;
  readonly only: RegExp | undefined;
}

/**
 * Two servers on one machine. One of them has no seals, no tree and no comparison with the log. The
 * load alternates between them, so that a drift of the machine affects both.
 */
export async function benchAuditCost({
  execPath,
  short,
  only,
}: AuditCostOptions): Promise<readonly Figure[]> {
  await using stack = new AsyncDisposableStack();
  const chosen = cases.filter(({ name }) => only === undefined || only.test(name));
  const options = { execPath, short, chosen };
  const [on, off] = [
    await startSide('with-log', options, stack),
    await startSide('without-log', options, stack),
  ];
  const seconds = short ? 1 : 2;
  for (let round = 0; round < (short ? 3 : 10); round += 1) {
    for (const [index, measured] of chosen.entries()) {
      // the first place alternates as well
      for (const { product, loads, rounds } of round % 2 === 0 ? [on, off] : [off, on])
        rounds[index]?.push(await oneRound(product, loads[index] as BenchChild, measured, seconds));
    }
  }
  return chosen.map((measured, index) =>
    figureOf(measured, on.rounds[index] ?? [], off.rounds[index] ?? []),
  );
}

async function startSide(
  mode: 'with-log' | 'without-log',
  {
    execPath,
    short,
    chosen,
  }: {
    readonly execPath: string;
    readonly short: boolean;
    readonly chosen: readonly Case[];
  },
  stack: AsyncDisposableStack,
): Promise<Side> {
  const script = fileURLToPath(
    new URL(`./audit-server.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url),
  );
  const product = stack.use(await startProduct({ execPath, server: { script, args: [mode] } }));
  const agent = await product.joinAgent('bench-agent');
  await product.admin('Entries/CreateEntries', {
    entries: [
      {
        id: 'bench',
        spiffeId: workloadId,
        parentId: agent.spiffeId,
        selectors: ['unix:uid:1234'],
      },
    ],
  });
  const loads = await Promise.all(
    chosen.map(async (measured) => {
      const load = stack.use(new BenchChild('h2-load', '--load-child', { execPath }));
      await load.ask(planOf(product, agent, measured));
      await load.ask({ seconds: short ? 0.5 : 2 });
      return load;
    }),
  );
  return { product, loads, rounds: chosen.map(() => []) };
}

function figureOf(
  { name, what, goal }: Case,
  withLog: readonly Round[],
  without: readonly Round[],
): Figure {
  const cpu = ({ mainUs, signersUs }: Round): number => mainUs + signersUs;
  const ratio = (of: (round: Round) => number): number =>
    median(withLog.map((measured, round) => of(measured) / of(without[round] as Round)));
  return {
    name,
    what,
    ratio: ratio(cpu),
    goal,
    atLeast: false,
    detail: {
      'rate with / without': ratio(({ perSecond }) => perSecond),
      'certificates/s with': median(withLog.map(({ perSecond }) => perSecond)),
      without: median(without.map(({ perSecond }) => perSecond)),
      'µs/certificate with': median(withLog.map(cpu)),
      'µs without': median(without.map(cpu)),
      'main process µs with': median(withLog.map(({ mainUs }) => mainUs)),
      'main µs without': median(without.map(({ mainUs }) => mainUs)),
    },
  };
}
