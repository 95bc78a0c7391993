import type { Command } from 'commander';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { action, type GlobalOptions, type Outcome } from '../action.ts';
import type { CliContext } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import { json } from '../output.ts';
import { table } from '../table.ts';

/** Checks whether the server or agent could start on this machine. */
export function doctorCommand(program: Command, context: CliContext, outcome: Outcome): void {
  program
    .command('doctor [file]')
    .description(
      'check this machine against a configuration: versions, files, module, tokens, PINs, ' +
        'ports, clock, capabilities; it tries each PIN once',
    )
    .option('--agent', 'the file is the configuration of an agent')
    .action(
      action<{ agent?: boolean }>(context, outcome, (options, [file]) => {
        const kind = options.agent === true ? 'agent' : 'server';
        const path = file ?? context.env[`MESHCA_${kind.toUpperCase()}_CONFIG`];
        if (path === undefined)
          throw new PkiError('INVALID_REQUEST', 'the path of the configuration is missing');
        return checkMachine(context, options, kind, path);
      }),
    );
}

/** Returns the exit code: 1 if a start would fail. */
export async function checkMachine(
  context: CliContext,
  options: GlobalOptions,
  kind: 'server' | 'agent',
  path: string,
): Promise<number> {
  const checks = unwrap(await context.dependencies.checkMachine(kind, path));
  const failed = checks.filter(({ state }) => state === 'failed');
  if (options.json) json(context, checks);
  else {
    table(
      context,
      [
        { title: 'CHECK', value: ({ what }) => what },
        { title: 'RESULT', value: ({ state }) => state },
        { title: 'FINDING', value: ({ text }) => text },
      ],
      checks,
      'nothing to check',
    );
    for (const { what, next } of checks) if (next !== undefined) context.out(`${what}: ${next}\n`);
  }
  return failed.length === 0 ? exitCodes.ok : exitCodes.failed;
}
