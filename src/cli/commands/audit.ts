import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import type { AuditRecord__Output } from '../../common/wire/generated/meshca/admin/v1/AuditRecord.ts';
import {
  action,
  collect,
  limitOf,
  wholeNumber,
  type GlobalOptions,
  type Outcome,
} from '../action.ts';
import {
  concerns,
  detailOf,
  merged,
  placeOfRefusal,
  wantedKinds,
  type KindFlags,
} from '../audit-filter.ts';
import type { Calls } from '../calls.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { writeWithProgress } from '../progress.ts';
import { facts, json, parseAge, printable } from '../output.ts';
import { table } from '../table.ts';
import type { ServiceTypes } from '../../common/wire/index.ts';
import { verifyCommand } from './audit-verify.ts';

interface SearchFlags extends KindFlags {
  readonly identity?: string;
  readonly serial?: string;
  readonly refusal?: string;
  readonly actor?: string;
  readonly subject?: string;
  readonly since?: string;
  readonly until?: string;
  readonly limit?: string;
  readonly oldest?: boolean;
}

/**
 * The audit log: search, watch and export it, and verify an export without server or database.
 */
export function auditCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const audit = program
    .command('audit')
    .description('the record of every issuance, refusal and administrative act');
  withSearch(audit.command('list').description('list audit records, the newest first')).action(
    action<SearchFlags>(context, outcome, (options) => search(context, options)),
  );
  withSearch(
    audit
      .command('search')
      .description(
        'search audit records by identity, certificate, refusal, actor, kind of act, or time',
      )
      .option('--identity <id>', 'about this SPIFFE ID')
      .option('--serial <hex>', 'about this certificate')
      .option('--refusal <id>', 'of the refusal with this ID'),
  ).action(action<SearchFlags>(context, outcome, (options) => search(context, options)));
  showCommand(audit, context, outcome);
  audit
    .command('watch')
    .description('print new records, one per line')
    .option('--identity <id>', 'about this SPIFFE ID; says when the identity gets a new holder')
    .option('--actor <text>', 'by this actor')
    .option(...kindOption, collect)
    .option(...notKindOption, collect)
    .option(...actsOption)
    .action(action<SearchFlags>(context, outcome, (options) => watch(context, options)));
  audit
    .command('export')
    .description('write the whole log to one file for "audit verify"')
    .requiredOption('--out <file>', 'the new file; it must not exist')
    .action(action<{ out: string }>(context, outcome, (options) => exportTo(context, options)));
  verifyCommand(audit, context, outcome);
}

const kindOption = [
  '--kind <kind>',
  'repeat: only this kind, for example certificate.issued or "entry.*"',
] as const;
const notKindOption = ['--not-kind <kind>', 'repeat: all kinds but this one'] as const;
const actsOption = ['--acts', 'only administrative acts'] as const;

const withSearch = (command: Command): Command =>
  command
    .option('--subject <text>', 'only records with this subject')
    .option('--actor <text>', 'only records with this actor')
    .option(...kindOption, collect)
    .option(...notKindOption, collect)
    .option(...actsOption)
    .option('--since <duration>', 'only newer records, for example 1d')
    .option('--until <duration>', 'only older records')
    .option('--limit <n>', 'the maximum number', '100')
    .option('--oldest', 'list the oldest first');

async function search(context: CliContext, flags: SearchFlags & GlobalOptions): Promise<void> {
  const options = flags.refusal === undefined ? flags : { kind: ['*.refused'], ...flags };
  const { asked, isWanted } = wantedKinds(options);
  const limit = limitOf(options);
  const records = await withAdmin(context, options, 'Audit', async (calls) => {
    const sources = (asked ?? ['']).map((kind) =>
      recordsOf(calls, { ...options, size: Math.min(limit, 500) }, kind, context.now()),
    );
    const wanted: AuditRecord__Output[] = [];
    for await (const record of merged(sources, (one, other) =>
      options.oldest === true ? one.sequence < other.sequence : one.sequence > other.sequence,
    )) {
      if (isWanted(record.kind) && concerns(record, options)) wanted.push(record);
      if (wanted.length === limit) break;
    }
    return wanted;
  });
  if (options.json) json(context, records.map(decoded));
  else showRecords(context, records, options.refusal);
}

/** The records of one kind or of all kinds, in the requested order. */
async function* recordsOf(
  calls: Calls<ServiceTypes['meshca.admin.v1.Audit']>,
  options: SearchFlags & { readonly size: number },
  kind: string,
  now: number,
): AsyncGenerator<AuditRecord__Output> {
  const ago = (text: string | undefined): number =>
    text === undefined ? 0 : (now - parseAge(text)) * 1000;
  const place = options.refusal === undefined ? undefined : placeOfRefusal(options.refusal);
  let token = '';
  do {
    const { records, nextPageToken } = await calls.call('ListAuditRecords', {
      page: { size: options.size, token },
      subject: options.subject ?? '',
      actor: options.actor ?? '',
      kind,
      sinceMs: Math.max(ago(options.since), place?.sinceMs ?? 0),
      untilMs: place?.untilMs ?? ago(options.until),
      newestFirst: options.oldest !== true,
    });
    yield* records;
    token = nextPageToken;
  } while (token !== '');
}

const time = ({ timeMs }: { readonly timeMs: number }): string => new Date(timeMs).toISOString();

function showRecords(
  context: CliContext,
  records: readonly AuditRecord__Output[],
  refusal: string | undefined,
): void {
  table(
    context,
    [
      { title: '#', value: (row) => String(row.sequence), align: 'right' },
      // --json and "audit show" have milliseconds
      { title: 'TIME', value: (row) => time(row).replace(/\.[0-9]+Z$/, 'Z') },
      { title: 'ACTOR', value: (row) => row.actor, priority: 2 },
      { title: 'KIND', value: (row) => row.kind },
      { title: 'SUBJECT', value: (row) => row.subject, short: 'id' },
    ],
    records,
    refusal === undefined
      ? 'no audit records'
      : 'no record of this refusal: those of strangers are only counted; the log of the server has their IDs',
  );
}

/** The parts of the record, and the bytes that the log commits to. */
const decoded = (record: AuditRecord__Output): Readonly<Record<string, unknown>> => ({
  sequence: record.sequence,
  time: time(record),
  actor: record.actor,
  kind: record.kind,
  subject: record.subject,
  detail: detailOf(record),
  sha256: record.sha256,
  canonical: record.canonical.toString('utf8'),
});

function showCommand(audit: Command, context: CliContext, outcome: Outcome): void {
  audit
    .command('show <number>')
    .description('show one record with all its details')
    .action(
      action(context, outcome, async (options, [text]) => {
        const sequence = wholeNumber('the number of the record', text as string);
        const { records } = await withAdmin(context, options, 'Audit', (calls) =>
          calls.call('ListAuditRecords', { page: { size: 1, token: '' }, sequence }),
        );
        const [record] = records;
        if (sequence === 0 || record?.sequence !== sequence)
          throw new PkiError('NOT_FOUND', `there is no record ${sequence}`, {
            next: 'The newest: meshca audit list --limit 1.',
          });
        if (options.json) {
          json(context, decoded(record));
          return;
        }
        facts(context, [
          ['record', String(record.sequence)],
          ['time', time(record)],
          ['actor', record.actor],
          ['kind', record.kind],
          ['subject', record.subject],
          ['sha256', record.sha256],
          ...Object.entries(detailOf(record)).map(
            ([name, value]) => [`  ${name}`, shown(value)] as const,
          ),
        ]);
      }),
    );
}

const shown = (value: unknown): string => {
  if (Array.isArray(value)) return value.map(shown).join('\n') || '-';
  if (typeof value === 'object' && value !== null) return JSON.stringify(value);
  return String(value) || '-';
};

async function watch(context: CliContext, options: SearchFlags & GlobalOptions): Promise<void> {
  const { asked, isWanted } = wantedKinds(options);
  await withAdmin(context, options, 'Audit', async (calls) => {
    for await (const { record, newHolder } of calls.stream(
      'WatchAudit',
      {
        identity: options.identity ?? '',
        kind: asked?.length === 1 ? (asked[0] as string) : '',
        actor: options.actor ?? '',
      },
      context.signal,
    )) {
      if (record === null) {
        if (!options.json)
          context.err(
            `watching${options.identity === undefined ? '' : ` ${printable(options.identity)}`}\n`,
          );
        continue;
      }
      if (isWanted(record.kind)) showWatched(context, options, record, newHolder);
    }
  });
}

function showWatched(
  context: CliContext,
  options: GlobalOptions,
  record: AuditRecord__Output,
  newHolder: boolean,
): void {
  const detail = detailOf(record);
  if (options.json)
    context.out(
      `${JSON.stringify({ sequence: record.sequence, timeMs: record.timeMs, actor: record.actor, kind: record.kind, subject: record.subject, newHolder, detail })}\n`,
    );
  else
    context.out(
      `${printable(`${time(record)}  ${record.kind}  ${record.subject}  by ${record.actor}${newHolder ? `  NEW HOLDER ${String(detail['holder'])}` : ''}`)}\n`,
    );
}

async function exportTo(
  context: CliContext,
  options: { readonly out: string } & GlobalOptions,
): Promise<void> {
  const bytes = await writeWithProgress(context, options.out, (write) =>
    withAdmin(context, options, 'Audit', async (calls) => {
      for await (const { data } of calls.stream('ExportAudit', {}, context.signal))
        await write(data);
    }),
  );
  if (options.json) json(context, { file: options.out, bytes });
  else
    context.out(
      `${options.out}: ${bytes} bytes; check it with "meshca audit verify ${options.out}"\n`,
    );
}
