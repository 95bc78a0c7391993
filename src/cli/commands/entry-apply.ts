import type { Command } from 'commander';
import { parse } from 'yaml';
import { PkiError } from '../../common/errors/index.ts';
import type { Entry, Entry__Output } from '../../common/wire/generated/meshca/admin/v1/Entry.ts';
import type { ApplyEntriesResponse__Output } from '../../common/wire/generated/meshca/admin/v1/ApplyEntriesResponse.ts';
import { action, wholeNumber, type GlobalOptions, type Outcome } from '../action.ts';
import { consent } from '../consent.ts';
import { withAdmin } from '../connect.ts';
import { readBytes } from '../files.ts';
import type { CliContext } from '../context.ts';
import { entryFile } from '../entry-file.ts';
import { exitCodes } from '../exit-codes.ts';
import { json, printable } from '../output.ts';
import { noteAbsentParents, checkSelectors } from '../entry-notes.ts';

interface ApplyFlags {
  readonly file: string;
  readonly prune?: boolean;
  readonly maxDeletes: string;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

export function applyCommand(entry: Command, context: CliContext, outcome: Outcome): void {
  entry
    .command('apply')
    .description('change the entries to those in a file, and print the difference')
    .requiredOption('-f, --file <path>', 'YAML or JSON; "-" for standard input')
    .option('--prune', 'delete entries that are not in the file; asks first')
    .option('--max-deletes <n>', 'with --prune: refuse to delete more entries', '50')
    .option('--yes', 'with --prune: do not ask')
    .option('--dry-run', 'print the difference, but change nothing')
    .action(action<ApplyFlags>(context, outcome, (options) => apply(context, options)));
}

async function apply(context: CliContext, options: ApplyFlags & GlobalOptions): Promise<number> {
  const text =
    options.file === '-' ? await context.readStdin() : readBytes(options.file).toString('utf8');
  const entries = await entriesOf(text, options.file);
  checkSelectors(context, options, entries);
  if (context.terminal.isTerminal && entries.length >= 2_000)
    context.err(`comparing ${entries.length} entries with those of the server\n`);
  if (options.prune === true && options.dryRun !== true)
    await agreeToDeletes(context, options, await applied(context, options, entries, true));
  const answer = await applied(context, options, entries, options.dryRun ?? false);
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
    `${answer.applied ? 'applied' : 'dry run, nothing changed'}: ${count('create')} ` +
      `created, ${count('update')} updated, ${count('delete')} deleted, ${answer.unchanged} ` +
      'unchanged\n',
  );
  await noteAbsentParents(
    context,
    options,
    answer.changes.flatMap(({ after }) => (after ? [after.parentId] : [])),
  );
  return exitCodes.ok;
}

const applied = (
  context: CliContext,
  options: ApplyFlags & GlobalOptions,
  entries: readonly Entry[],
  dryRun: boolean,
): Promise<ApplyEntriesResponse__Output> =>
  withAdmin(context, options, 'Entries', (calls) =>
    calls.call(
      'ApplyEntries',
      { entries: [...entries], prune: options.prune ?? false, dryRun },
      { deadlineSeconds: 120 },
    ),
  );

const shownDeletes = 10;

/** A truncated file, or the file of another mesh, would delete everything. */
async function agreeToDeletes(
  context: CliContext,
  options: ApplyFlags,
  { changes }: ApplyEntriesResponse__Output,
): Promise<void> {
  const deletes = changes.filter((change) => change.action === 'delete');
  if (deletes.length === 0) return;
  const limit = wholeNumber('--max-deletes', options.maxDeletes);
  if (deletes.length > limit)
    throw new PkiError(
      'INVALID_REQUEST',
      `${deletes.length} entries would be deleted, more than ${limit}; nothing was changed`,
      {
        next: `Check with --dry-run. To delete all of them, add --max-deletes ${deletes.length}.`,
      },
    );
  if (options.yes !== true)
    for (const { before } of deletes.slice(0, shownDeletes))
      context.err(`- ${printable(`${before?.id ?? ''}  ${before?.spiffeId ?? ''}`)}\n`);
  const more = deletes.length - shownDeletes;
  await consent(
    context,
    options.yes,
    `${more > 0 ? `and ${more} more: ` : ''}Delete ` +
      `${deletes.length === 1 ? 'this entry' : `these ${deletes.length} entries`}?`,
  );
}

async function entriesOf(text: string, path: string): Promise<Entry[]> {
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
      next: '"meshca entry export" prints the form.',
    });
  // zod is loaded only here, since loading it takes time
  const { entryFromFile } = await import('../entry-file-schema.ts');
  return list.map((entry: unknown, index) => entryFromFile(entry, `${path}: entry ${index + 1}`));
}

/** The changed fields, in the form of the file. */
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
