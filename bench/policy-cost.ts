import { unwrap } from '../src/common/errors/index.ts';
import { readPolicy } from '../src/common/policy/file.ts';
import { SpiffeId } from '../src/common/spiffe/index.ts';
import { spiffeSubject, type Requester } from '../src/domain/index.ts';
import { policyOf, type PolicyRequest } from '../src/issuance/index.ts';
import { BenchChild } from './child.ts';
import { median, type Figure } from './figures.ts';
import { oneRound, planOf, workloadId, type Case, type Round } from './issuance.ts';
import { startProduct, trustDomain, type Product } from './product.ts';

const cases: readonly Case[] = [
  {
    name: 'policy.unary',
    what: 'a decision of a policy of 50 rules, 10 of them with an expression, against a whole issuance: agent API, one certificate per call, 32 calls in flight; CPU of all server processes',
    goal: 0.05,
    perCall: 1,
    inFlight: 32,
    caller: 'agent',
  },
  {
    name: 'policy.batch100',
    what: 'the same, 100 certificates per call, 4 calls in flight',
    goal: 0.05,
    perCall: 100,
    inFlight: 4,
    caller: 'agent',
  },
];

interface PolicyCostOptions {
  readonly execPath: string;
  readonly short: boolean;
  readonly only: RegExp | undefined;
}

/**
 * The decision alone, and issuances of a server, in turns. The server decides by a policy that
 * allows everything in one rule, and by the one that is measured, in turns as well.
 */
export async function benchPolicyCost({
  execPath,
  short,
  only,
}: PolicyCostOptions): Promise<readonly Figure[]> {
  const chosen = cases.filter(({ name }) => only === undefined || only.test(name));
  await using stack = new AsyncDisposableStack();
  const product = stack.use(await startProduct({ execPath }));
  const loads = await loadsOf(product, { execPath, short, chosen }, stack);
  const decide = decision();
  const decisions: number[] = [];
  const rounds = { small: chosen.map((): Round[] => []), large: chosen.map((): Round[] => []) };
  const seconds = short ? 1 : 2;
  for (let round = 0; round < (short ? 2 : 8); round += 1) {
    for (const size of round % 2 === 0
      ? (['small', 'large'] as const)
      : (['large', 'small'] as const)) {
      await activate(product, size === 'small' ? [everything] : rules);
      for (const [index, measured] of chosen.entries()) {
        decisions.push(decide(short ? 5_000 : 20_000));
        rounds[size][index]?.push(
          await oneRound(product, loads[index] as BenchChild, measured, seconds),
        );
      }
    }
  }
  const decisionUs = median(decisions);
  return chosen.map((measured, index) =>
    figureOf(measured, decisionUs, {
      small: rounds.small[index] ?? [],
      large: rounds.large[index] ?? [],
    }),
  );
}

const everything = { name: 'everything', effect: 'allow' };
/** Denies that look at the request and do not match, and allows of which the last matches. */
const rules: readonly object[] = [
  { name: 'no-rsa', effect: 'deny', keyTypes: ['rsa-2048', 'rsa-3072', 'rsa-4096'] },
  { name: 'no-long-lives', effect: 'deny', ttl: { min: '25h' } },
  ...Array.from({ length: 14 }, (_, index) => ({
    name: `reserved-${index}`,
    effect: 'deny',
    spiffeIds: [
      `spiffe://${trustDomain}/reserved-${index}/**`,
      `spiffe://${trustDomain}/*/x/${index}`,
    ],
  })),
  ...Array.from({ length: 8 }, (_, index) => ({
    name: `names-${index}`,
    effect: 'deny',
    dnsNames: [`**.secret-${index}.corp.test`],
    ips: [`10.${index}.0.0/16`],
  })),
  ...Array.from({ length: 10 }, (_, index) => ({
    name: `expression-${index}`,
    effect: 'deny',
    kinds: ['workload'],
    when:
      index % 2 === 0
        ? `request.path.size() == 4 && request.path[1] == "team-${index}" && request.dns_names.exists(name, !name.endsWith(".team-${index}.test"))`
        : `request.spiffe_id.matches("/sa/[a-z]+-${index}$") && request.time.getHours() < 6`,
  })),
  ...Array.from({ length: 15 }, (_, index) => ({
    name: `team-${index}`,
    effect: 'allow',
    spiffeIds: [`spiffe://${trustDomain}/ns/team-${index}/**`],
    dnsNames: [`**.team-${index}.test`],
    ttl: { max: '24h' },
  })),
  {
    name: 'shop',
    effect: 'allow',
    spiffeIds: [`spiffe://${trustDomain}/ns/shop/**`],
    ttl: { max: '24h' },
  },
];

/** Microseconds of CPU for one decision, over so many, with the digest of the facts. */
function decision(): (count: number) => number {
  const policy = unwrap(readPolicy(JSON.stringify({ meshcaPolicy: 1, rules })));
  if (policy.rules.length !== 50) throw new Error(`${policy.rules.length} rules`);
  const issuance = policyOf({ version: 1, policy }, { now: () => 1_780_000_000 });
  const caller: Requester = { class: 'agent', name: `spiffe://${trustDomain}/meshca/agent/bench` };
  const request: PolicyRequest = {
    type: 'x509',
    kind: 'workload',
    subject: spiffeSubject(SpiffeId.of(workloadId), ['cart.shop.test']),
    profile: 'short-lived',
    keyType: 'ec-p256',
    ttlSeconds: 3600,
    entryId: 'bench',
    delegationId: null,
  };
  const decide = (count: number): number => {
    const before = process.cpuUsage();
    for (let index = 0; index < count; index += 1)
      if (!issuance.decide(request, caller).allowed) throw new Error('the policy denied');
    const { user, system } = process.cpuUsage(before);
    return (user + system) / count;
  };
  decide(2_000);
  return decide;
}

async function loadsOf(
  product: Product,
  {
    execPath,
    short,
    chosen,
  }: Omit<PolicyCostOptions, 'only'> & { readonly chosen: readonly Case[] },
  stack: AsyncDisposableStack,
): Promise<readonly BenchChild[]> {
  const agent = await product.joinAgent('bench-agent');
  await product.admin('Entries/CreateEntries', {
    entries: [
      { id: 'bench', spiffeId: workloadId, parentId: agent.spiffeId, selectors: ['unix:uid:1234'] },
    ],
  });
  return Promise.all(
    chosen.map(async (measured) => {
      const load = stack.use(new BenchChild('h2-load', '--load-child', { execPath }));
      await load.ask(planOf(product, agent, measured));
      await load.ask({ seconds: short ? 0.5 : 2 });
      return load;
    }),
  );
}

async function activate(product: Product, of: readonly object[]): Promise<void> {
  const { version } = await product.admin('Policies/GetPolicy', { version: 0 });
  await product.admin('Policies/ActivatePolicy', {
    text: JSON.stringify({ meshcaPolicy: 1, rules: of }),
    version,
    reason: 'bench',
  });
}

function figureOf(
  { name, what, goal }: Case,
  decisionUs: number,
  { small, large }: { readonly small: readonly Round[]; readonly large: readonly Round[] },
): Figure {
  const cpu = ({ mainUs, signersUs }: Round): number => mainUs + signersUs;
  const issuanceUs = median(small.map(cpu));
  return {
    name,
    what,
    ratio: decisionUs / issuanceUs,
    goal,
    atLeast: false,
    detail: {
      'decision µs': decisionUs,
      'µs/certificate with one rule': issuanceUs,
      'with 50 rules': median(large.map(cpu)),
      'main process µs with one rule': median(small.map(({ mainUs }) => mainUs)),
      'main µs with 50 rules': median(large.map(({ mainUs }) => mainUs)),
    },
  };
}
