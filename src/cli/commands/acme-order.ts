import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { explainOrder } from '../acme-explain.ts';
import { showOrder, showOrders } from '../acme-view.ts';
import { action, allPages, limitOf, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { printLines } from '../federation-view.ts';
import { acmeOrderId } from '../object-ids.ts';
import { json } from '../output.ts';

interface ListFlags {
  readonly tenant?: string;
  readonly key?: string;
  readonly account?: string;
  readonly name?: string;
  readonly status?: string;
  readonly limit?: string;
}

/** Orders of ACME accounts. */
export function acmeOrderCommands(acme: Command, context: CliContext, outcome: Outcome): void {
  const order = acme.command('order').description('orders of ACME accounts');
  listCommand(order, context, outcome);
  order
    .command('show <id>')
    .description('one order, with its authorizations')
    .action(
      action(context, outcome, async (options, [text]) => {
        const id = await acmeOrderId(context, options, text as string);
        const shown = await withAdmin(context, options, 'Acme', (calls) =>
          calls.call('GetOrder', { id }),
        );
        if (options.json) json(context, shown);
        else showOrder(context, shown);
      }),
    );
  order
    .command('explain <id>')
    .description('what was tried for each name, why it was refused, and what to do')
    .action(
      action(context, outcome, async (options, [text]) => {
        const id = await acmeOrderId(context, options, text as string);
        const lines = await withAdmin(context, options, 'Acme', async (calls) => {
          const shown = await calls.call('GetOrder', { id });
          const [account, key] = await Promise.all([
            calls.call('GetAccount', { id: shown.accountId }).catch(unseen),
            calls.call('GetEabKey', { id: shown.eabKeyId }).catch(unseen),
          ]);
          return explainOrder({ order: shown, account, key, now: context.now() });
        });
        if (options.json) json(context, { id, explanation: lines });
        else printLines(context, lines);
      }),
    );
}

/** A role over the names of an order need not see its account. */
function unseen(thrown: unknown): undefined {
  const { code } = PkiError.from(thrown);
  if (code !== 'NOT_FOUND' && code !== 'ROLE_MISSING') throw thrown;
  return undefined;
}

function listCommand(order: Command, context: CliContext, outcome: Outcome): void {
  order
    .command('list')
    .description('orders')
    .option('--tenant <name>', 'of this tenant')
    .option('--key <id>', 'of the accounts of this EAB key')
    .option('--account <id>', 'of this account')
    .option('--name <name>', 'for this DNS name or address')
    .option('--status <status>', 'pending, ready, processing, valid or invalid')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<ListFlags>(context, outcome, async (options) => {
        const record = await withAdmin(context, options, 'Acme', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { orders, nextPageToken } = await calls.call('ListOrders', {
              page,
              tenant: options.tenant ?? '',
              eabKeyId: options.key ?? '',
              accountId: options.account ?? '',
              name: options.name ?? '',
              status: options.status ?? '',
            });
            return { items: orders, next: nextPageToken };
          }),
        );
        if (options.json) json(context, record);
        else showOrders(context, record);
      }),
    );
}
