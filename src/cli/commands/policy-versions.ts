import type { Command } from 'commander';
import { fail, PkiError, unwrap, type Result } from '../../common/errors/index.ts';
import type { IssuancePolicy__Output } from '../../common/wire/generated/meshca/admin/v1/IssuancePolicy.ts';
import { action, allPages, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import { consent } from '../consent.ts';
import type { CliContext } from '../context.ts';
import { readBytes } from '../files.ts';
import { facts, instant, json } from '../output.ts';
import { table } from '../table.ts';

interface ActivateFlags {
  readonly reason: string;
  readonly yes?: boolean;
}

/** The versions of the policy that a server has, the newest of which is in force. */
export function policyVersionCommands(
  policy: Command,
  context: CliContext,
  outcome: Outcome,
): void {
  policy
    .command('activate <file>')
    .description('put the policy of a file in force at the server; asks first')
    .requiredOption('--reason <text>', 'for the audit record')
    .option('--yes', 'do not ask')
    .action(
      action<ActivateFlags>(context, outcome, async (options, [file]) => {
        const text =
          file === '-' ? await context.readStdin() : readBytes(file as string).toString();
        await activate(context, options, text, `the policy of ${file}`);
      }),
    );
  policy
    .command('rollback <version>')
    .description('put an earlier version in force again, as a new version; asks first')
    .requiredOption('--reason <text>', 'for the audit record')
    .option('--yes', 'do not ask')
    .action(
      action<ActivateFlags>(context, outcome, async (options, [version]) => {
        const { text } = await versionOf(context, options, versionNumber(version as string));
        await activate(context, options, text, `version ${version}`);
      }),
    );
  showCommand(policy, context, outcome);
  listCommand(policy, context, outcome);
}

const versionOf = (
  context: CliContext,
  options: GlobalOptions,
  version: number,
): Promise<IssuancePolicy__Output> =>
  withAdmin(context, options, 'Policies', (calls) => calls.call('GetPolicy', { version }));

function versionNumber(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text))
    throw new PkiError('INVALID_REQUEST', `${JSON.stringify(text.slice(0, 40))} is no version`, {
      next: 'Name a version that "meshca policy list" shows.',
    });
  return Number(text);
}

async function activate(
  context: CliContext,
  options: ActivateFlags & GlobalOptions,
  text: string,
  what: string,
): Promise<void> {
  // faults of the file are told before anything is asked of the server
  const { readPolicy } = await import('../../common/policy/file.ts');
  unwrap(named(readPolicy(text), what));
  const present = await versionOf(context, options, 0);
  const before =
    present.version === 0
      ? 'the built-in policy, which allows everything that the rights of a caller allow'
      : `version ${present.version} (${present.reason})`;
  await consent(
    context,
    options.yes,
    `Put ${what} in force in place of ${before}? What it does not allow is neither issued nor renewed from now on.`,
  );
  const { version, reason } = await withAdmin(context, options, 'Policies', (calls) =>
    calls.call('ActivatePolicy', { text, version: present.version, reason: options.reason }),
  );
  if (options.json) json(context, { version, reason });
  else context.out(`version ${version} of the policy is in force\n`);
}

const named = <T>(read: Result<T>, what: string): Result<T> =>
  read.ok ? read : fail(read.error.code, `${what}: ${read.error.message}`);

function showCommand(policy: Command, context: CliContext, outcome: Outcome): void {
  policy
    .command('show [version]')
    .description('print a version with its file; default: the one in force')
    .action(
      action(context, outcome, async (options, [version]) => {
        const wanted = version === undefined ? 0 : versionNumber(version);
        const record = await versionOf(context, options, wanted);
        if (options.json) json(context, record);
        else if (record.version === 0)
          context.out('the built-in policy: everything that the rights of a caller allow\n');
        else {
          facts(context, rowsOf(record));
          context.out(`\n${record.text}`);
        }
      }),
    );
}

const rowsOf = (record: IssuancePolicy__Output): readonly (readonly [string, string])[] => [
  ['version', `${record.version}${record.inForce ? ', in force' : ''}`],
  ['reason', record.reason],
  ['activated', `${instant(record.activatedAt)} by ${record.activatedBy}`],
  ['sha256', record.sha256],
];

function listCommand(policy: Command, context: CliContext, outcome: Outcome): void {
  policy
    .command('list')
    .description('versions of the policy, newest first')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<{ limit?: string }>(context, outcome, async (options) => {
        const versions = await withAdmin(context, options, 'Policies', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { policies, nextPageToken } = await calls.call('ListPolicies', { page });
            return { items: policies, next: nextPageToken };
          }),
        );
        if (options.json) {
          json(context, versions);
          return;
        }
        table(
          context,
          [
            { title: 'VERSION', value: (row) => String(row.version), align: 'right' },
            { title: 'IN FORCE', value: (row) => (row.inForce ? 'yes' : '') },
            { title: 'ACTIVATED', value: (row) => instant(row.activatedAt) },
            { title: 'BY', value: (row) => row.activatedBy, priority: 2 },
            { title: 'REASON', value: (row) => row.reason },
          ],
          versions,
          'no policy was activated: the built-in one is in force',
        );
      }),
    );
}
