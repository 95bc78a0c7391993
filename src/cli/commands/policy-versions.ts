import type { Command } from 'commander';
import type { IssuancePolicy__Output } from '../../common/wire/generated/meshca/admin/v1/IssuancePolicy.ts';
import { action, allPages, limitOf, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json, printableLines } from '../output.ts';
import { versionNumber, versionOf } from '../policy-source.ts';
import { table } from '../table.ts';
import { policyActivationCommands } from './policy-activation.ts';

/** The versions of the policy that a server has, the newest of which is in force. */
export function policyVersionCommands(
  policy: Command,
  context: CliContext,
  outcome: Outcome,
): void {
  policyActivationCommands(policy, context, outcome);
  showCommand(policy, context, outcome);
  listCommand(policy, context, outcome);
}

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
          context.out(`\n${printableLines(record.text)}`);
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
