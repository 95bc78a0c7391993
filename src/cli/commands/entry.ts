import type { Command } from 'commander';
import { stringify } from 'yaml';
import { PkiError } from '../../common/errors/index.ts';
import type { Entry__Output } from '../../common/wire/generated/meshca/admin/v1/Entry.ts';
import { action, allPages, collect, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { entryFile } from '../entry-file.ts';
import { entryId } from '../object-ids.ts';
import { json } from '../output.ts';
import { draftOf, type EntryFlags } from '../entry-draft.ts';
import { expectPossible } from '../../common/spiffe/index.ts';
import { noteAbsentParents, noteAbsentRelationships, checkSelectors } from '../entry-notes.ts';
import { showEntries, showEntry, showResults } from '../entry-view.ts';
import { applyCommand } from './entry-apply.ts';

const entryFlags = [
  'spiffeId',
  'parentId',
  'selector',
  'ttl',
  'jwtTtl',
  'profile',
  'dns',
  'ip',
  'hint',
  'expires',
  'admin',
  'downstream',
  'allowWeakSelectors',
  'federatesWith',
  'allow',
] as const satisfies readonly (keyof EntryFlags)[];

const parentOption = [
  '--parent-id <id>',
  'SPIFFE ID of the agent or node set that may hand out the identity',
] as const;
const selectorOption = ['--selector <type:value>', 'repeat: all selectors must match'] as const;

const withFlags = (command: Command): Command =>
  command
    .option('--ttl <duration>', 'life of X.509-SVIDs, for example 1h, or "default"')
    .option('--jwt-ttl <duration>', 'life of JWT-SVIDs, or "default"')
    .option(
      '--profile <name>',
      'short-lived (default) or revocable; for names without an identity: short or classic',
    )
    .option('--dns <name>', 'repeat: DNS names in the certificate', collect)
    .option('--ip <address>', 'repeat: addresses in the certificate, with a names profile', collect)
    .option('--hint <text>', 'tells a workload the purpose of this identity')
    .option('--expires <duration>', 'the entry itself ends after this time, or "never"')
    .option('--admin', 'the identity may use the admin API within its roles')
    .option('--downstream', 'the identity may request CA certificates (downstream CA)')
    .option('--allow-weak-selectors', 'allow a path or hash as the only selector')
    .option(
      '--federates-with <trust-domain>',
      'repeat: a foreign trust domain whose bundle the process gets',
      collect,
    )
    .option(
      '--allow <placeholder=value,...>',
      'repeat, for a template: the allowed values of a placeholder',
      collect,
    );

export function entryCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const entry = program
    .command('entry')
    .description('registration entries: they decide which process gets which identity');
  createCommand(entry, context, outcome);
  showCommand(entry, context, outcome);
  listCommand(entry, context, outcome);
  updateCommand(entry, context, outcome);
  deleteCommand(entry, context, outcome);
  applyCommand(entry, context, outcome);
  exportCommand(entry, context, outcome);
}

function createCommand(entry: Command, context: CliContext, outcome: Outcome): void {
  withFlags(
    entry
      .command('create')
      .description('create one entry')
      .requiredOption(
        '--spiffe-id <id>',
        'the identity, or a template such as spiffe://td/user/{unix.user}',
      )
      .option('--id <name>', 'name of the entry; default: the server chooses one')
      .requiredOption(...parentOption)
      .requiredOption(...selectorOption, collect),
  ).action(
    action<EntryFlags>(context, outcome, async (options) => {
      const draft = draftOf(options, undefined, context.now());
      checkSelectors(context, options, [draft]);
      const results = await withAdmin(
        context,
        options,
        'Entries',
        async (calls) => (await calls.call('CreateEntries', { entries: [draft] })).results,
      );
      const code = showResults(context, options, results, 'created');
      await noteAbsentParents(
        context,
        options,
        results.flatMap(({ entry: made }) => (made ? [made.parentId] : [])),
      );
      await noteAbsentRelationships(
        context,
        options,
        results.flatMap(({ entry: made }) => made?.federatesWith ?? []),
      );
      return code;
    }),
  );
}

function updateCommand(entry: Command, context: CliContext, outcome: Outcome): void {
  withFlags(
    entry
      .command('update <id>')
      .description('change one entry; fields without an option stay as they are')
      .option('--spiffe-id <id>', 'the identity')
      .option(...parentOption)
      .option(...selectorOption, collect),
  ).action(
    action<EntryFlags>(context, outcome, async (options, [id]) => {
      if (entryFlags.every((name) => options[name] === undefined))
        throw new PkiError('INVALID_REQUEST', 'no option changes the entry');
      const updated = await withAdmin(context, options, 'Entries', async (calls) => {
        const present = await calls.call('GetEntry', {
          id: await entryId(context, options, id as string),
        });
        const draft = draftOf(options, present, context.now());
        checkSelectors(context, options, [draft]);
        return calls.call('UpdateEntry', {
          entry: { ...draft, id: present.id, revision: present.revision },
        });
      });
      showEntry(context, options, updated);
    }),
  );
}

function showCommand(entry: Command, context: CliContext, outcome: Outcome): void {
  entry
    .command('show <id>')
    .description('show one entry')
    .action(
      action(context, outcome, async (options, [id]) => {
        const entries = await withAdmin(context, options, 'Entries', async (calls) =>
          calls.call('GetEntry', { id: await entryId(context, options, id as string) }),
        );
        showEntry(context, options, entries);
      }),
    );
}

function listCommand(entry: Command, context: CliContext, outcome: Outcome): void {
  entry
    .command('list')
    .description('list entries')
    .option('--spiffe-id <id>', 'only entries with this ID')
    .option('--parent-id <id>', 'only entries with this parent')
    .option('--selector <type:value>', 'only entries with this selector')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<{ spiffeId?: string; parentId?: string; selector?: string; limit?: string }>(
        context,
        outcome,
        async (options) => {
          const entries = await listEntries(
            context,
            options,
            {
              spiffeId: options.spiffeId ?? '',
              parentId: options.parentId ?? '',
              selector: options.selector ?? '',
            },
            limitOf(options),
          );
          // one from before that no process can have is shown; where there is none, it is a typo
          if (entries.length === 0 && options.selector !== undefined)
            expectPossible(options.selector);
          if (options.json) json(context, entries);
          else
            showEntries(
              context,
              entries,
              options.spiffeId === undefined &&
                options.parentId === undefined &&
                options.selector === undefined
                ? 'no entries; "meshca entry create" makes one'
                : 'no entry matches',
            );
        },
      ),
    );
}

function deleteCommand(entry: Command, context: CliContext, outcome: Outcome): void {
  entry
    .command('delete <id...>')
    .description('delete entries; when the command returns, nothing is issued for them any more')
    .action(
      action(context, outcome, async (options, ids) => {
        const results = await withAdmin(
          context,
          options,
          'Entries',
          async (calls) =>
            (
              await calls.call('DeleteEntries', {
                ids: await Promise.all(ids.map((id) => entryId(context, options, id))),
              })
            ).results,
        );
        return showResults(context, options, results, 'deleted');
      }),
    );
}

function exportCommand(entry: Command, context: CliContext, outcome: Outcome): void {
  entry
    .command('export')
    .description('print all entries as a file for "entry apply"')
    .action(
      action(context, outcome, async (options) => {
        const entries = await listEntries(
          context,
          options,
          { spiffeId: '', parentId: '', selector: '' },
          Number.MAX_SAFE_INTEGER,
        );
        const file = { entries: entries.map(entryFile) };
        context.out(options.json ? `${JSON.stringify(file, null, 2)}\n` : stringify(file));
      }),
    );
}

async function listEntries(
  context: CliContext,
  options: GlobalOptions,
  filter: { spiffeId: string; parentId: string; selector: string },
  limit: number,
): Promise<readonly Entry__Output[]> {
  return withAdmin(context, options, 'Entries', (calls) =>
    allPages(context, limit, async (page) => {
      const { entries, nextPageToken } = await calls.call('ListEntries', { page, filter });
      return { items: entries, next: nextPageToken };
    }),
  );
}
