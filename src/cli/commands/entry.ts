import type { Command } from 'commander';
import { parse, stringify } from 'yaml';
import { isErrorCode, PkiError, type ErrorCode } from '../../common/errors/index.ts';
import type { Entry, Entry__Output } from '../../common/wire/generated/meshca/admin/v1/Entry.ts';
import type { EntryResult__Output } from '../../common/wire/generated/meshca/admin/v1/EntryResult.ts';
import { action, allPages, collect, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { absentParents } from '../agent-id.ts';
import { readBytes, withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { entryFile, entryFromFile, type EntryFile } from '../entry-file.ts';
import { exitCodeOf, exitCodes } from '../exit-codes.ts';
import {
  duration,
  facts,
  instant,
  json,
  parseDuration,
  printable,
  printError,
  table,
} from '../output.ts';
import { oddSelector } from '../selector-hints.ts';

/** Node sets have selectors of nodes, which are free. */
const serverPath = '/meshca/server';

interface EntryFlags {
  readonly id?: string;
  readonly spiffeId?: string;
  readonly parentId?: string;
  readonly selector?: readonly string[];
  readonly ttl?: string;
  readonly jwtTtl?: string;
  readonly profile?: string;
  readonly dns?: readonly string[];
  readonly hint?: string;
  readonly expires?: string;
  readonly admin?: boolean;
  readonly downstream?: boolean;
  readonly allowWeakSelectors?: boolean;
  readonly allow?: readonly string[];
}

const entryFlags = [
  'spiffeId',
  'parentId',
  'selector',
  'ttl',
  'jwtTtl',
  'profile',
  'dns',
  'hint',
  'expires',
  'admin',
  'downstream',
  'allowWeakSelectors',
  'allow',
] as const satisfies readonly (keyof EntryFlags)[];

const parentOption = [
  '--parent-id <id>',
  'SPIFFE ID of the agent or node set that may hand the identity out',
] as const;
const selectorOption = ['--selector <type:value>', 'repeat: all must match'] as const;

const withFlags = (command: Command): Command =>
  command
    .option('--ttl <duration>', 'life of X.509-SVIDs, for example 1h')
    .option('--jwt-ttl <duration>', 'life of JWT-SVIDs')
    .option('--profile <name>', 'short-lived (default) or revocable')
    .option('--dns <name>', 'repeat: DNS names in the certificate', collect)
    .option('--hint <text>', 'tells a workload which of its identities to use for what')
    .option('--expires <duration>', 'the entry itself ends after so long')
    .option('--admin', 'the identity may use the admin API within its roles')
    .option('--downstream', 'the identity is a downstream authority')
    .option('--allow-weak-selectors', 'path or hash alone may identify the process')
    .option(
      '--allow <placeholder=value,...>',
      'for a template: the allowed values of a placeholder',
      collect,
    );

export function entryCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const entry = program
    .command('entry')
    .description('registration entries: which process gets which identity');
  withFlags(
    entry
      .command('create')
      .description('create one entry')
      .requiredOption(
        '--spiffe-id <id>',
        'the identity, or a template such as spiffe://td/user/{unix.user}',
      )
      .option('--id <name>', 'name of the entry; chosen by the server if absent')
      .requiredOption(...parentOption)
      .requiredOption(...selectorOption, collect),
  ).action(
    action<EntryFlags>(context, outcome, async (options) => {
      const draft = draftOf(options, undefined, context.now());
      noteOddSelectors(context, options, [draft]);
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
      return code;
    }),
  );
  entry
    .command('show <id>')
    .description('one entry')
    .action(
      action(context, outcome, async (options, [id]) => {
        const found = await withAdmin(context, options, 'Entries', (calls) =>
          calls.call('GetEntry', { id: id as string }),
        );
        showEntry(context, options, found);
      }),
    );
  entry
    .command('list')
    .description('entries, filtered')
    .option('--spiffe-id <id>', 'with exactly this ID')
    .option('--parent-id <id>', 'with this parent')
    .option('--selector <type:value>', 'with this selector among theirs')
    .option('--limit <n>', 'at most so many', '1000')
    .action(
      action<{ spiffeId?: string; parentId?: string; selector?: string; limit?: string }>(
        context,
        outcome,
        async (options) => {
          const found = await listEntries(
            context,
            options,
            {
              spiffeId: options.spiffeId ?? '',
              parentId: options.parentId ?? '',
              selector: options.selector ?? '',
            },
            limitOf(options),
          );
          if (options.json) json(context, found);
          else
            showEntries(
              context,
              found,
              options.spiffeId === undefined &&
                options.parentId === undefined &&
                options.selector === undefined
                ? 'no entries; "meshca entry create" makes one'
                : 'no entry matches',
            );
        },
      ),
    );
  withFlags(
    entry
      .command('update <id>')
      .description('change one entry; what is not given stays')
      .option('--spiffe-id <id>', 'the identity')
      .option(...parentOption)
      .option(...selectorOption, collect),
  ).action(
    action<EntryFlags>(context, outcome, async (options, [id]) => {
      if (entryFlags.every((name) => options[name] === undefined))
        throw new PkiError('INVALID_REQUEST', 'nothing is given that would change the entry');
      const updated = await withAdmin(context, options, 'Entries', async (calls) => {
        const present = await calls.call('GetEntry', { id: id as string });
        const draft = draftOf(options, present, context.now());
        noteOddSelectors(context, options, [draft]);
        return calls.call('UpdateEntry', {
          entry: { ...draft, id: present.id, revision: present.revision },
        });
      });
      showEntry(context, options, updated);
    }),
  );
  entry
    .command('delete <id...>')
    .description('delete entries; nothing is issued for them from the moment of the answer on')
    .action(
      action(context, outcome, async (options, ids) => {
        const results = await withAdmin(
          context,
          options,
          'Entries',
          async (calls) => (await calls.call('DeleteEntries', { ids: [...ids] })).results,
        );
        return showResults(context, options, results, 'deleted');
      }),
    );
  entry
    .command('apply')
    .description('make the entries what a file says; prints the difference')
    .requiredOption('-f, --file <path>', 'YAML or JSON, "-" for standard input')
    .option('--prune', 'delete entries that the file does not name')
    .option('--dry-run', 'print the difference and change nothing')
    .action(
      action<{ file: string; prune?: boolean; dryRun?: boolean }>(context, outcome, (options) =>
        apply(context, options),
      ),
    );
  entry
    .command('export')
    .description('all entries as a file that "entry apply" takes')
    .action(
      action(context, outcome, async (options) => {
        const found = await listEntries(
          context,
          options,
          { spiffeId: '', parentId: '', selector: '' },
          Number.MAX_SAFE_INTEGER,
        );
        const file = { entries: found.map(entryFile) };
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

async function apply(
  context: CliContext,
  options: GlobalOptions & {
    readonly file: string;
    readonly prune?: boolean;
    readonly dryRun?: boolean;
  },
): Promise<number> {
  const text =
    options.file === '-' ? await context.readStdin() : readBytes(options.file).toString('utf8');
  const entries = entriesOf(text, options.file);
  noteOddSelectors(context, options, entries);
  if (context.terminal.isTerminal && entries.length >= 2_000)
    context.err(`comparing ${entries.length} entries with those of the server\n`);
  const answer = await withAdmin(context, options, 'Entries', (calls) =>
    calls.call(
      'ApplyEntries',
      { entries, prune: options.prune ?? false, dryRun: options.dryRun ?? false },
      { deadlineSeconds: 120 },
    ),
  );
  if (options.json) {
    json(context, answer);
    return exitCodes.ok;
  }
  for (const { action: what, before, after } of answer.changes) {
    const sign = what === 'create' ? '+' : what === 'update' ? '~' : '-';
    context.out(`${sign} ${(after ?? before)?.id ?? ''}  ${(after ?? before)?.spiffeId ?? ''}\n`);
    if (before && after)
      for (const line of differences(before, after)) context.out(`    ${line}\n`);
  }
  const count = (what: string): number =>
    answer.changes.filter((change) => change.action === what).length;
  context.out(
    `${answer.applied ? 'applied' : 'dry run, nothing changed'}: ${count('create')} created, ${count('update')} updated, ${count('delete')} deleted, ${answer.unchanged} unchanged\n`,
  );
  await noteAbsentParents(
    context,
    options,
    answer.changes.flatMap(({ after }) => (after ? [after.parentId] : [])),
  );
  return exitCodes.ok;
}

/**
 * A selector that no agent makes is taken, since agents of a later release may make it, and yet it
 * is a typo most of the time.
 */
function noteOddSelectors(
  context: CliContext,
  options: GlobalOptions,
  entries: readonly Entry[],
): void {
  if (options.json) return;
  const notes = new Set(
    entries
      .filter(({ parentId }) => !parentId?.endsWith(serverPath))
      .flatMap(({ selectors }) => selectors ?? [])
      .flatMap(oddSelector),
  );
  const shown = [...notes].slice(0, 10);
  for (const note of shown) context.err(`note: ${printable(note)}\n`);
  if (notes.size > shown.length)
    context.err(`note: ${notes.size - shown.length} more of this sort\n`);
}

/**
 * Entries may be there before their agent, and yet it is a typo at times. What was done stands,
 * whatever becomes of the note.
 */
async function noteAbsentParents(
  context: CliContext,
  options: GlobalOptions,
  parentIds: readonly string[],
): Promise<void> {
  if (options.json) return;
  const absent = await absentParents(context, options, parentIds).catch(() => []);
  for (const id of absent.slice(0, 10))
    context.err(
      `note: no agent has joined as ${printable(id)} so far; its entries count from when one does\n`,
    );
  if (absent.length > 10)
    context.err(`note: ${absent.length - 10} more parents that have never joined\n`);
}

function entriesOf(text: string, path: string): Entry[] {
  let parsed: unknown;
  try {
    parsed = parse(text, { strict: true, uniqueKeys: true, maxAliasCount: 20 });
  } catch (thrown) {
    throw new PkiError(
      'INVALID_REQUEST',
      `${path} is not valid YAML or JSON: ${thrown instanceof Error ? thrown.message.split('\n')[0] : ''}`,
    );
  }
  const list = Array.isArray(parsed) ? parsed : (parsed as { entries?: unknown } | null)?.entries;
  if (!Array.isArray(list))
    throw new PkiError('INVALID_REQUEST', `${path} has no list "entries"`, {
      next: 'See "meshca entry export" for the form.',
    });
  return list.map((each: EntryFile, index) => entryFromFile(each, `${path}: entry ${index + 1}`));
}

/** Field by field, as the file writes them. */
function differences(before: Entry__Output, after: Entry__Output): string[] {
  const [old, fresh] = [
    { ...entryFile(before) } as Record<string, unknown>,
    { ...entryFile(after) } as Record<string, unknown>,
  ];
  return [...new Set([...Object.keys(old), ...Object.keys(fresh)])]
    .filter((key) => JSON.stringify(old[key]) !== JSON.stringify(fresh[key]))
    .map(
      (key) =>
        `${key}: ${JSON.stringify(old[key]) ?? '(none)'} → ${JSON.stringify(fresh[key]) ?? '(none)'}`,
    );
}

function draftOf(flags: EntryFlags, present: Entry__Output | undefined, now: number): Entry {
  return {
    id: flags.id ?? present?.id ?? '',
    spiffeId: flags.spiffeId ?? present?.spiffeId ?? '',
    parentId: flags.parentId ?? present?.parentId ?? '',
    selectors: [...(flags.selector ?? present?.selectors ?? [])],
    x509TtlSeconds:
      flags.ttl === undefined ? (present?.x509TtlSeconds ?? 0) : parseDuration(flags.ttl),
    jwtTtlSeconds:
      flags.jwtTtl === undefined ? (present?.jwtTtlSeconds ?? 0) : parseDuration(flags.jwtTtl),
    profile: flags.profile ?? present?.profile ?? '',
    dnsNames: [...(flags.dns ?? present?.dnsNames ?? [])],
    hint: flags.hint ?? present?.hint ?? '',
    expiresAt:
      flags.expires === undefined ? (present?.expiresAt ?? 0) : now + parseDuration(flags.expires),
    admin: flags.admin ?? present?.admin ?? false,
    downstream: flags.downstream ?? present?.downstream ?? false,
    allowWeakSelectors: flags.allowWeakSelectors ?? present?.allowWeakSelectors ?? false,
    placeholders:
      flags.allow === undefined ? (present?.placeholders ?? []) : flags.allow.map(allowed),
  };
}

function allowed(text: string): { placeholder: string; allowed: string[] } {
  const [placeholder, values] = text.split('=', 2);
  if (!placeholder || !values)
    throw new PkiError(
      'INVALID_REQUEST',
      `--allow ${JSON.stringify(text)} is not placeholder=value,value`,
    );
  return { placeholder, allowed: values.split(',') };
}

function showResults(
  context: CliContext,
  options: GlobalOptions,
  results: readonly EntryResult__Output[],
  verb: string,
): number {
  if (options.json) json(context, results);
  const failed = results.filter((result) => result.problem);
  for (const result of results) {
    if (result.problem) {
      const { code, message, next } = result.problem;
      if (!options.json)
        printError(context, new PkiError(knownCode(code), message, { next }), false);
    } else if (!options.json)
      context.out(`${verb} ${result.entry?.id ?? result.id}  ${result.entry?.spiffeId ?? ''}\n`);
  }
  // as many codes as entries: the first that failed speaks for all
  return failed[0]?.problem
    ? exitCodeOf(new PkiError(knownCode(failed[0].problem.code), ''))
    : exitCodes.ok;
}

const knownCode = (code: string): ErrorCode => (isErrorCode(code) ? code : 'INTERNAL');

function showEntries(context: CliContext, entries: readonly Entry__Output[], empty: string): void {
  table(
    context,
    [
      { title: 'ID', value: (each) => each.id },
      { title: 'SPIFFE ID', value: (each) => each.spiffeId },
      { title: 'PARENT', value: (each) => each.parentId },
      {
        title: 'TTL',
        value: (each) => (each.x509TtlSeconds === 0 ? 'default' : duration(each.x509TtlSeconds)),
      },
      { title: 'SELECTORS', value: (each) => each.selectors.join(' ') },
    ],
    entries,
    empty,
  );
}

function showEntry(context: CliContext, options: GlobalOptions, entry: Entry__Output): void {
  if (options.json) {
    json(context, entry);
    return;
  }
  facts(context, [
    ['id', entry.id],
    ['spiffe id', entry.spiffeId],
    ['parent', entry.parentId],
    ['selectors', entry.selectors.join('\n')],
    ['profile', entry.profile],
    ['x509 ttl', entry.x509TtlSeconds === 0 ? 'default' : duration(entry.x509TtlSeconds)],
    ['jwt ttl', entry.jwtTtlSeconds === 0 ? 'default' : duration(entry.jwtTtlSeconds)],
    ['dns names', entry.dnsNames.join(' ') || '-'],
    ['hint', entry.hint || '-'],
    ['expires', instant(entry.expiresAt)],
    ['admin', entry.admin ? 'yes' : 'no'],
    ['downstream', entry.downstream ? 'yes' : 'no'],
    ...entry.placeholders.map(
      ({ placeholder, allowed: values }) => [`{${placeholder}}`, values.join(' ')] as const,
    ),
    ['revision', String(entry.revision)],
    ['created', `${instant(entry.createdAt)} by ${entry.createdBy}`],
    ['updated', instant(entry.updatedAt)],
  ]);
}
