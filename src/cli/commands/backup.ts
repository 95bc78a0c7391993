import type { Command } from 'commander';
import type { RestoreDifference__Output } from '../../common/wire/generated/meshca/admin/v1/RestoreDifference.ts';
import { action, wholeNumber, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { writeWithProgress } from '../progress.ts';
import { facts, json, printable } from '../output.ts';
import { table } from '../table.ts';

/** Copies of the database, and their return. */
export function backupCommands(program: Command, context: CliContext, outcome: Outcome): void {
  backupCommand(program, context, outcome);
  const restore = program
    .command('restore')
    .description('replace the database by a backup, and accept what is lost');
  restore
    .command('database <file>')
    .description(
      'replace the database of a stopped server by this backup; the present database is kept beside it',
    )
    .option('-c, --config <path>', "the server's configuration")
    .action(
      action<{ config?: string }>(context, outcome, async (options, [file]) => {
        const { path, replaced } = await context.dependencies.restore({
          configPath: options.config,
          from: file as string,
        });
        if (options.json) json(context, { path, replaced });
        else
          context.out(
            `${path} is now ` +
              `${file}${replaced === undefined ? '' : `; the previous one is ${replaced}`}\nIf ` +
              'the backup is older than the last signature, the server starts, reports this ' +
              'and signs nothing: see "meshca restore show".\n',
          );
      }),
    );
  showCommand(restore, context, outcome);
  acceptCommand(restore, context, outcome);
}

function backupCommand(program: Command, context: CliContext, outcome: Outcome): void {
  program
    .command('backup')
    .description('copy the database of the running server; it contains no private keys')
    .requiredOption('--out <file>', 'the new file; it must not exist')
    .action(
      action<{ out: string }>(context, outcome, async (options) => {
        const bytes = await writeWithProgress(context, options.out, (write) =>
          withAdmin(context, options, 'Server', async (calls) => {
            for await (const { data } of calls.stream('Backup', {}, context.signal))
              await write(data);
          }),
        );
        if (options.json) json(context, { file: options.out, bytes });
        else context.out(`${options.out}: ${bytes} bytes\n`);
      }),
    );
}

function showCommand(restore: Command, context: CliContext, outcome: Outcome): void {
  restore
    .command('show')
    .description(
      'show what the database lacks, as far as the replaced database tells, and what comes back with it',
    )
    .option(
      '-c, --config <path>',
      'read the database that this configuration names, without a server; the server must be stopped',
    )
    .action(
      action<{ config?: string }>(context, outcome, async (options) => {
        const view =
          options.config === undefined
            ? await withAdmin(context, options, 'Server', (calls) => calls.call('ShowRestore', {}))
            : await offline(context, options.config);
        if (options.json) json(context, view);
        else show(context, view);
      }),
    );
}

function acceptCommand(restore: Command, context: CliContext, outcome: Outcome): void {
  restore
    .command('accept <records>')
    .description('go on without the lost records; "restore show" gives the number')
    .action(
      action(context, outcome, async (options, [records]) => {
        const size = wholeNumber('the number of records', records as string);
        const view = await withAdmin(context, options, 'Server', (calls) =>
          calls.call('AcceptRestore', { size }),
        );
        if (options.json) json(context, { stale: view.stale, size: view.size });
        else
          context.out(
            'accepted: the log continues under a new origin, agents continue under a new ' +
              'epoch, and the server signs again\n',
          );
      }),
    );
}

type View = Pick<
  RestoreDifference__Output,
  'stale' | 'size' | 'expected' | 'foundBy' | 'proven' | 'lost' | 'comingBack' | 'agents'
>;

async function offline(context: CliContext, configPath: string): Promise<View> {
  const { stale, size, expected, proven, lost } = await context.dependencies.restoreShow({
    configPath,
  });
  return {
    stale,
    size,
    expected,
    foundBy: 'the checkpoint file',
    proven,
    lost: [...lost],
    comingBack: [],
    agents: 0,
  };
}

function show(context: CliContext, view: View): void {
  if (!view.stale) {
    context.out(`the database is up to date: ${view.size} records\n`);
    return;
  }
  facts(context, [
    ['records here', String(view.size)],
    ['records signed', String(view.expected)],
    ['seen by', printable(view.foundBy)],
    ['lost', String(Math.max(0, view.expected - view.size))],
    [
      'known from',
      view.proven
        ? 'the replaced database, whose records agree with the signatures: its bans and ' +
          'revocations apply again after the acceptance'
        : 'nothing that proves it: before you accept, repeat the bans and revocations of that ' +
          'time; make tokens and other changes again by hand',
    ],
    ...(view.agents === 0 ? [] : [['agents that may come back', String(view.agents)] as const]),
    ['to accept', `meshca restore accept ${view.expected}`],
  ]);
  context.out('\nlost acts, without issuances\n');
  table(
    context,
    [
      { title: '#', value: (row) => String(row.sequence), align: 'right' },
      { title: 'TIME', value: (row) => new Date(row.timeMs).toISOString() },
      { title: 'ACTOR', value: (row) => row.actor },
      { title: 'KIND', value: (row) => row.kind },
      { title: 'SUBJECT', value: (row) => row.subject },
    ],
    view.lost,
    'none are known',
  );
  if (view.comingBack.length === 0) return;
  context.out('\nobjects in this database that may have ended in the lost time\n');
  table(
    context,
    [
      { title: 'KIND', value: (row) => row.kind },
      { title: 'ID', value: (row) => row.id },
      { title: 'STATE', value: (row) => row.state },
    ],
    view.comingBack,
    'nothing',
  );
}
