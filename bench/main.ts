import { availableParallelism } from 'node:os';
import { table, meets, round, type Figure } from './figures.ts';
import { benchAuditCost } from './audit-cost.ts';
import { benchIdentity } from './identity.ts';
import { benchIssuance } from './issuance.ts';
import { benchLogStart } from './log-start.ts';
import { benchMemory } from './memory.ts';
import { benchPolicyCost } from './policy-cost.ts';
import { benchSds } from './sds.ts';
import { benchStartCost } from './start-cost.ts';
import { benchStore } from './store.ts';
import { benchSync } from './sync.ts';

const usage = `npm run bench -- [--short] [--json] [NAME…]

NAME: audit, issuance, identity, memory, policy, sds, start, store, sync; or the beginning of a figure's name (issuance.agent.batch).
--short takes about two minutes for all; --json prints one document.
`;

interface Context {
  readonly short: boolean;
  readonly execPath: string;
  readonly cores: number;
  readonly nodeFlags: readonly string[];
  readonly uid: number;
  /** Which figures of a group are wanted. */
  readonly only: RegExp | undefined;
}

const groups: Readonly<Record<string, (context: Context) => Promise<readonly Figure[]>>> = {
  audit: benchAuditCost,
  issuance: ({ only, ...context }) => benchIssuance(context, only),
  identity: benchIdentity,
  memory: benchMemory,
  policy: benchPolicyCost,
  sds: benchSds,
  start: async (context) => [...(await benchStartCost(context)), ...(await benchLogStart(context))],
  store: benchStore,
  sync: benchSync,
};

async function main(args: readonly string[]): Promise<number> {
  const names = args.filter((arg) => !arg.startsWith('--'));
  const unknown = [
    ...names.filter((name) => groups[name.split('.')[0] as string] === undefined),
    ...args.filter(
      (arg) =>
        arg.startsWith('--') &&
        !['--short', '--json', '--help'].includes(arg) &&
        !arg.startsWith('--server-flag='),
    ),
  ];
  if (args.includes('--help') || unknown.length > 0) {
    process.stderr.write(unknown.length > 0 ? `unknown: ${unknown.join(', ')}\n${usage}` : usage);
    return unknown.length > 0 ? 2 : 0;
  }
  const nodeFlags = args
    .filter((arg) => arg.startsWith('--server-flag='))
    .map((arg) => arg.slice('--server-flag='.length));
  const json = args.includes('--json');
  const figures: Figure[] = [];
  for (const [name, run] of Object.entries(groups)) {
    const wanted = names.filter((each) => each.split('.')[0] === name);
    if (names.length > 0 && wanted.length === 0) continue;
    const only =
      wanted.length === 0 || wanted.includes(name)
        ? undefined
        : new RegExp(`^(${wanted.map((each) => each.replaceAll('.', '\\.')).join('|')})`);
    const made = await run({
      short: args.includes('--short'),
      execPath: process.execPath,
      cores: availableParallelism(),
      nodeFlags,
      uid: process.getuid?.() ?? 0,
      only,
    });
    figures.push(...made);
    if (!json) process.stdout.write(table(made));
  }
  if (json)
    process.stdout.write(
      `${JSON.stringify({ cores: availableParallelism(), node: process.version, figures: figures.map((figure) => ({ ...figure, ratio: round(figure.ratio), met: meets(figure) ?? null })) }, undefined, 2)}\n`,
    );
  return 0;
}

process.exitCode = await main(process.argv.slice(2));
