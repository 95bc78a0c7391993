import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import type { RenewalLoss__Output } from '../../common/wire/generated/meshca/admin/v1/RenewalLoss.ts';
import type { RenewalLossTotals__Output } from '../../common/wire/generated/meshca/admin/v1/RenewalLossTotals.ts';
import { action, wholeNumber, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import { consent } from '../consent.ts';
import type { CliContext } from '../context.ts';
import { instant, json, until } from '../output.ts';
import { policyOfText, textOf, versionNumber, versionOf } from '../policy-source.ts';
import { showProgress } from '../progress.ts';
import { table } from '../table.ts';

interface ActivateFlags {
  readonly reason: string;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
  readonly over?: string;
  readonly losses: boolean;
}

interface Losses {
  readonly losses: readonly RenewalLoss__Output[];
  readonly totals: RenewalLossTotals__Output;
}

/** How many identities are listed before the question; --json has more. */
const shownLosses = 20;

/** Puts a policy in force, after it was shown who would lose the renewal. */
export function policyActivationCommands(
  policy: Command,
  context: CliContext,
  outcome: Outcome,
): void {
  const withFlags = (command: Command): Command =>
    command
      .requiredOption('--reason <text>', 'for the audit record')
      .option('--dry-run', 'show which live identities would lose renewal; change nothing')
      .option('--over <version>', 'the version in force, where its file can not be read')
      .option('--no-losses', 'do not look for who would lose renewal, in an emergency')
      .option('--yes', 'do not ask');
  withFlags(
    policy
      .command('activate <file>')
      .description(
        'put the policy of a file in force; says who would lose renewal, and asks first',
      ),
  ).action(
    action<ActivateFlags>(context, outcome, async (options, [file]) => {
      const text = await textOf(context, file as string);
      await activate(context, options, text, `the policy of ${file}`);
    }),
  );
  withFlags(
    policy
      .command('rollback <version>')
      .description(
        'put an earlier version in force again, as a new one; says who would lose renewal, and asks first',
      ),
  ).action(
    action<ActivateFlags>(context, outcome, async (options, [version]) => {
      const { text } = await versionOf(context, options, versionNumber(version as string));
      await activate(context, options, text, `version ${version}`);
    }),
  );
}

async function activate(
  context: CliContext,
  options: ActivateFlags & GlobalOptions,
  text: string,
  what: string,
): Promise<void> {
  // faults of the file are told before anything is asked of the server
  await policyOfText(text, what);
  const present = await presentOf(context, options);
  const losses = options.losses
    ? await lossesOf(context, options, { text, version: present.version })
    : undefined;
  if (options.json !== true && losses !== undefined) showLosses(context, losses);
  if (options.dryRun === true) {
    if (options.json) json(context, lossesJson(losses));
    return;
  }
  await consent(
    context,
    options.yes,
    `${lossesText(losses)}Put ${what} in force in place of ${present.name}? What it does not allow is neither issued nor renewed from now on.`,
  );
  const { version, reason } = await withAdmin(context, options, 'Policies', (calls) =>
    calls.call('ActivatePolicy', { text, version: present.version, reason: options.reason }),
  );
  if (options.json) json(context, { version, reason, ...lossesJson(losses) });
  else context.out(`version ${version} of the policy is in force\n`);
}

function lossesText(losses: Losses | undefined): string {
  if (losses === undefined) return '';
  const { identities, certificates } = losses.totals;
  return identities === 0
    ? 'No live identity would lose its renewal. '
    : `${identities} live identities (${certificates} certificates) would lose their renewal. `;
}

async function presentOf(
  context: CliContext,
  options: ActivateFlags & GlobalOptions,
): Promise<{ readonly version: number; readonly name: string }> {
  if (options.over !== undefined) {
    const version = wholeNumber('--over', options.over);
    return { version, name: `version ${version}` };
  }
  try {
    const { version, reason } = await versionOf(context, options, 0);
    return {
      version,
      name:
        version === 0
          ? 'the built-in policy, which allows everything that the rights of a caller allow'
          : `version ${version} (${reason})`,
    };
  } catch (thrown) {
    const error = PkiError.from(thrown);
    if (error.code !== 'OBJECT_NOT_IN_LOG') throw error;
    throw new PkiError(error.code, error.message, {
      cause: error,
      detail: error.detail,
      next: 'The version in force can not be read. To put another policy in its place, name its number: --over VERSION ("meshca audit list --kind issuance-policy.activated" has it).',
    });
  }
}

async function lossesOf(
  context: CliContext,
  options: GlobalOptions,
  request: { readonly text: string; readonly version: number },
): Promise<Losses> {
  let read = '';
  const ended = showProgress(context, () => `looking for live identities${read}`);
  try {
    return await withAdmin(context, options, 'Policies', async (calls) => {
      const losses: RenewalLoss__Output[] = [];
      for await (const step of calls.stream('ListRenewalLosses', request, context.signal)) {
        if (step.records !== 0) read = `: ${step.records} records`;
        losses.push(...step.losses);
        if (step.totals !== null) return { losses, totals: step.totals };
      }
      throw new PkiError('CANCELLED', 'interrupted before the live identities were known', {
        next: 'Nothing was changed.',
      });
    });
  } finally {
    ended();
  }
}

const lossesJson = (losses: Losses | undefined): object =>
  losses === undefined ? {} : { renewalLosses: losses.losses, renewalTotals: losses.totals };

function showLosses(context: CliContext, { losses, totals }: Losses): void {
  const { unknown, unproven, complete, identities } = totals;
  const shown = losses.slice(0, shownLosses);
  if (shown.length > 0) {
    context.out('would lose their renewal:\n');
    table(
      context,
      [
        { title: 'IDENTITY', value: ({ identity }) => identity },
        { title: 'KIND', value: ({ kind }) => kind, priority: 3 },
        { title: 'RULE', value: ({ rule }) => (rule === '' ? '(none matches)' : rule) },
        { title: 'LIVE', value: (row) => String(row.certificates), align: 'right' },
        { title: 'RENEWAL', value: (row) => until(row.nextRenewal, context.now()) },
        { title: 'LIVE UNTIL', value: (row) => instant(row.liveUntil), priority: 2 },
      ],
      shown,
      '',
    );
    if (identities > shown.length)
      context.out(`and ${identities - shown.length} more; --json lists up to 1000\n`);
  }
  const notes: readonly (readonly [boolean, string])[] = [
    [
      unknown > 0,
      `${unknown} live certificates are not among them: their records do not state the facts of the request`,
    ],
    [unproven > 0, `${unproven} records were left out: the log does not vouch for them`],
    [!complete, `only the newest ${totals.records} records were read: there can be more`],
  ];
  for (const [applies, note] of notes) if (applies) context.err(`note: ${note}\n`);
}
