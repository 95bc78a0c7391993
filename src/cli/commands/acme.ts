import type { Command } from 'commander';
import type { Outcome } from '../action.ts';
import type { CliContext } from '../context.ts';
import { acmeAccountCommands } from './acme-account.ts';
import { acmeKeyCommands } from './acme-key.ts';
import { acmeOrderCommands } from './acme-order.ts';

/** ACME: keys for external account binding, accounts and orders. */
export function acmeCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const acme = program
    .command('acme')
    .description('certificates for names by ACME clients: keys, accounts and orders');
  acmeKeyCommands(acme, context, outcome);
  acmeAccountCommands(acme, context, outcome);
  acmeOrderCommands(acme, context, outcome);
}
