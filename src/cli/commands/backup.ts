import { open } from 'node:fs/promises';
import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { action, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, json, table } from '../output.ts';

/** Copies of the database, and putting one back. */
export function backupCommands(program: Command, context: CliContext, outcome: Outcome): void {
  program.command('backup').description('a consistent copy of the database of the running server; it holds no keys').requiredOption('--out <file>', 'the file; it must not exist').action(action<{ out: string }>(context, outcome, async (options) => {
    const file = await open(options.out, 'wx', 0o600).catch((thrown: NodeJS.ErrnoException) => {
      throw new PkiError('INVALID_REQUEST', `${options.out} can not be written (${thrown.code ?? 'error'})`, { next: 'Name a file that does not exist yet, in a folder that you may write to.' });
    });
    let bytes = 0;
    try {
      await withAdmin(context, options, 'Server', async (calls) => {
        for await (const { data } of calls.stream('Backup', {}, context.signal)) {
          await file.write(data);
          bytes += data.length;
        }
      });
      await file.sync();
    } finally {
      await file.close();
    }
    if (context.signal.aborted) throw new PkiError('CANCELLED', `${options.out} is not complete`);
    if (options.json) json(context, { file: options.out, bytes });
    else context.out(`${options.out}: ${bytes} bytes\n`);
  }));

  const restore = program.command('restore').description('put a backup in the place of the database; the server must be stopped');
  restore.command('database <file>').description('replace the database by this backup; the present one is kept beside it').option('-c, --config <path>', 'the server\'s configuration').action(action<{ config?: string }>(context, outcome, async (options, [file]) => {
    const { path, replaced } = await context.parts.restore({ configPath: options.config, from: file as string });
    if (options.json) json(context, { path, replaced });
    else context.out(`${path} is now ${file}${replaced === undefined ? '' : `; the one before is ${replaced}`}\nIf it is older than what was signed, the next start says so and signs nothing: look at "meshca restore show".\n`);
  }));
  restore.command('show').description('what the database lacks: acts after the backup, as far as the replaced database tells').option('-c, --config <path>', 'the server\'s configuration').action(action<{ config?: string }>(context, outcome, async (options) => {
    const { size, expected, proven, lost } = await context.parts.restoreShow({ configPath: options.config });
    if (options.json) {
      json(context, { size, expected, proven, lost });
      return;
    }
    facts(context, [
      ['records here', String(size)], ['records signed', String(expected)], ['lost', String(Math.max(0, expected - size))],
      ['known from', proven ? 'the replaced database, whose records are those that were signed: bans in it stand again after the acceptance' : 'nothing that proves it: bans, tokens and changes of the lost time must be made again by hand'],
      ...(expected > size ? [['to accept', `meshca server run --accept-restore ${expected}`] as const] : []),
    ]);
    table(context, [
      { title: '#', value: (each) => String(each.sequence), align: 'right' }, { title: 'TIME', value: (each) => new Date(each.timeMs).toISOString() }, { title: 'ACTOR', value: (each) => each.actor }, { title: 'KIND', value: (each) => each.kind }, { title: 'SUBJECT', value: (each) => each.subject },
    ], lost, 'no lost acts are known');
  }));
}
