import type { Command } from 'commander';
import { showAccount, showAccounts } from '../acme-view.ts';
import { action, allPages, limitOf, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { acmeAccountId } from '../object-ids.ts';
import { json } from '../output.ts';

interface ListFlags {
  readonly tenant?: string;
  readonly key?: string;
  readonly status?: string;
  readonly limit?: string;
}

/** Accounts of ACME clients. */
export function acmeAccountCommands(acme: Command, context: CliContext, outcome: Outcome): void {
  const account = acme.command('account').description('accounts of ACME clients');
  account
    .command('list')
    .description('accounts')
    .option('--tenant <name>', 'of this tenant')
    .option('--key <id>', 'of this EAB key')
    .option('--status <status>', 'valid, deactivated or revoked')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<ListFlags>(context, outcome, async (options) => {
        const record = await withAdmin(context, options, 'Acme', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { accounts, nextPageToken } = await calls.call('ListAccounts', {
              page,
              tenant: options.tenant ?? '',
              eabKeyId: options.key ?? '',
              status: options.status ?? '',
            });
            return { items: accounts, next: nextPageToken };
          }),
        );
        if (options.json) json(context, record);
        else showAccounts(context, record);
      }),
    );
  account
    .command('show <id>')
    .description('one account')
    .action(
      action(context, outcome, async (options, [text]) => {
        const id = await acmeAccountId(context, options, text as string);
        const shown = await withAdmin(context, options, 'Acme', (calls) =>
          calls.call('GetAccount', { id }),
        );
        if (options.json) json(context, shown);
        else showAccount(context, shown);
      }),
    );
  account
    .command('end <id>')
    .description('issue nothing to an account any more; its certificates live on')
    .option('--reason <text>', 'for the audit record', '')
    .action(
      action<{ reason: string }>(context, outcome, async (options, [text]) => {
        const id = await acmeAccountId(context, options, text as string);
        const ended = await withAdmin(context, options, 'Acme', (calls) =>
          calls.call('EndAccount', { id, reason: options.reason }),
        );
        if (options.json) json(context, ended);
        else context.out(`${ended.id} is ${ended.status}: nothing is issued to it any more\n`);
      }),
    );
}
