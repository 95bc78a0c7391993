import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { action, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { json } from '../output.ts';

/** The trust bundle. */
export function bundleCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const bundle = program.command('bundle').description('the trust bundle');
  bundle
    .command('show')
    .description('show the roots, as PEM')
    .option('--format <format>', 'pem, spiffe (JWKS document) or fingerprints', 'pem')
    .action(
      action<{ format: string }>(context, outcome, async (options) => {
        const bundle = await withAdmin(context, options, 'Authorities', (calls) =>
          calls.call('GetBundle', {}),
        );
        if (options.json)
          json(context, { ...bundle, bundleJson: JSON.parse(bundle.bundleJson) as unknown });
        else if (options.format === 'pem') context.out(bundle.rootsPem);
        else if (options.format === 'spiffe')
          context.out(`${JSON.stringify(JSON.parse(bundle.bundleJson), null, 2)}\n`);
        else if (options.format === 'fingerprints')
          context.out(`${bundle.fingerprints.join('\n')}\n`);
        else
          throw new PkiError(
            'INVALID_REQUEST',
            `--format ${JSON.stringify(options.format)} is none of pem, spiffe, fingerprints`,
          );
      }),
    );
}
