import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import {
  formatVerifierKey,
  parseVerifierKey,
  verifyExport,
  type NoteKey,
} from '../../common/tlog/index.ts';
import type { AuditRecord__Output } from '../../common/wire/generated/meshca/admin/v1/AuditRecord.ts';
import { action, collect, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import { writeStream } from '../files.ts';
import { facts, instant, json, parseDuration, printable } from '../output.ts';
import { table } from '../table.ts';

interface SearchFlags {
  readonly identity?: string;
  readonly serial?: string;
  readonly actor?: string;
  readonly kind?: string;
  readonly subject?: string;
  readonly since?: string;
  readonly until?: string;
  readonly limit?: string;
  readonly oldest?: boolean;
}

/**
 * The audit log: search, watch, export, and verification that needs neither server nor database.
 */
export function auditCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const audit = program
    .command('audit')
    .description('the record of every issuance, refusal and administrative act');
  audit
    .command('list')
    .description('the newest audit records, the newest one last')
    .option('--subject <text>', 'about exactly this')
    .option('--actor <text>', 'by exactly this actor')
    .option('--kind <kind>', 'for example certificate.issued')
    .option('--since <duration>', 'not older than this')
    .option('--limit <n>', 'at most this many', '100')
    .option('--oldest', 'the oldest ones instead of the newest')
    .action(action<SearchFlags>(context, outcome, (options) => search(context, options)));
  audit
    .command('search')
    .description(
      'audit records about an identity, a certificate, an actor, a kind of act or a time',
    )
    .option('--identity <id>', 'about this SPIFFE ID')
    .option('--serial <hex>', 'about this certificate')
    .option('--actor <text>', 'by exactly this actor')
    .option('--kind <kind>', 'for example certificate.issued, entry.created, request.refused')
    .option('--subject <text>', 'about exactly this')
    .option('--since <duration>', 'not older than this')
    .option('--until <duration>', 'older than this')
    .option('--limit <n>', 'at most this many', '100')
    .option('--oldest', 'the oldest ones instead of the newest')
    .action(action<SearchFlags>(context, outcome, (options) => search(context, options)));
  audit
    .command('watch')
    .description('print records as they are made, one line each')
    .option('--identity <id>', 'about this SPIFFE ID; says when it gets a new holder')
    .option('--kind <kind>', 'of this kind')
    .option('--actor <text>', 'by this actor')
    .action(action<SearchFlags>(context, outcome, (options) => watch(context, options)));
  audit
    .command('export')
    .description('write the whole log into one file for "audit verify"')
    .requiredOption('--out <file>', 'the file; it must not exist')
    .action(action<{ out: string }>(context, outcome, (options) => exportTo(context, options)));
  verifyCommand(audit, context, outcome);
}

function verifyCommand(audit: Command, context: CliContext, outcome: Outcome): void {
  audit
    .command('verify <file>')
    .description('check an export without server or database')
    .option('--key <key>', 'verifier key of the log (name+hash+key), or a file with it')
    .option(
      '--since <checkpoint>',
      'a checkpoint seen before (signed note, or a checkpoints.log): the log must go on from it',
    )
    .option(
      '--witness <key>',
      'repeat: verifier key of a witness, or a file with it; it must have cosigned',
      collect,
    )
    .action(
      action<{ key?: string; since?: string; witness?: readonly string[] }>(
        context,
        outcome,
        (options, [file]) => verify(context, options, file as string),
      ),
    );
}

async function search(context: CliContext, options: SearchFlags & GlobalOptions): Promise<void> {
  const now = context.now();
  const sinceMs = options.since === undefined ? 0 : (now - parseDuration(options.since)) * 1000;
  const untilMs = options.until === undefined ? 0 : (now - parseDuration(options.until)) * 1000;
  const newestFirst = options.oldest !== true;
  const limit = limitOf(options);
  const found = await withAdmin(context, options, 'Audit', async (calls) => {
    const wanted: AuditRecord__Output[] = [];
    let token = '';
    do {
      const { records, nextPageToken } = await calls.call('ListAuditRecords', {
        page: { size: 500, token },
        subject: options.subject ?? '',
        actor: options.actor ?? '',
        kind: options.kind ?? '',
        sinceMs,
        untilMs,
        newestFirst,
      });
      wanted.push(...records.filter((record) => concerns(record, options)));
      token = nextPageToken;
    } while (token !== '' && wanted.length < limit);
    const found = wanted.slice(0, limit);
    return newestFirst ? found.reverse() : found;
  });
  if (options.json) {
    json(
      context,
      found.map((each) => ({
        sequence: each.sequence,
        sha256: each.sha256,
        canonical: each.canonical.toString('utf8'),
      })),
    );
    return;
  }
  table(
    context,
    [
      { title: '#', value: (each) => String(each.sequence), align: 'right' },
      { title: 'TIME', value: (each) => new Date(each.timeMs).toISOString() },
      { title: 'ACTOR', value: (each) => each.actor },
      { title: 'KIND', value: (each) => each.kind },
      { title: 'SUBJECT', value: (each) => each.subject },
    ],
    found,
    'no audit records',
  );
}

/** An identity or serial may be the subject of a record, or be in its detail. */
function concerns(record: AuditRecord__Output, { identity, serial }: SearchFlags): boolean {
  if (identity === undefined && serial === undefined) return true;
  const texts = Object.values(detailOf(record)).flat().map(String);
  return (
    (identity === undefined || record.subject === identity || texts.includes(identity)) &&
    (serial === undefined ||
      record.subject === serial.toLowerCase() ||
      texts.includes(serial.toLowerCase()))
  );
}

function detailOf(
  record: Pick<AuditRecord__Output, 'canonical'>,
): Readonly<Record<string, unknown>> {
  const text = record.canonical.toString('utf8');
  return (
    (JSON.parse(text.slice(text.indexOf('\n') + 1)) as { detail?: Record<string, unknown> })
      .detail ?? {}
  );
}

async function watch(context: CliContext, options: SearchFlags & GlobalOptions): Promise<void> {
  await withAdmin(context, options, 'Audit', async (calls) => {
    for await (const { record, newHolder } of calls.stream(
      'WatchAudit',
      { identity: options.identity ?? '', kind: options.kind ?? '', actor: options.actor ?? '' },
      context.signal,
    )) {
      if (record === null) {
        if (!options.json)
          context.err(
            `watching${options.identity === undefined ? '' : ` ${printable(options.identity)}`}\n`,
          );
        continue;
      }
      const detail = detailOf(record);
      if (options.json)
        context.out(
          `${JSON.stringify({ sequence: record.sequence, timeMs: record.timeMs, actor: record.actor, kind: record.kind, subject: record.subject, newHolder, detail })}\n`,
        );
      else
        context.out(
          `${printable(`${new Date(record.timeMs).toISOString()}  ${record.kind}  ${record.subject}  by ${record.actor}${newHolder ? `  NEW HOLDER ${String(detail['holder'])}` : ''}`)}\n`,
        );
    }
  });
}

async function exportTo(
  context: CliContext,
  options: { readonly out: string } & GlobalOptions,
): Promise<void> {
  const bytes = await writeStream(options.out, context.signal, (write) =>
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

async function verify(
  context: CliContext,
  options: {
    readonly key?: string;
    readonly since?: string;
    readonly witness?: readonly string[];
  } & GlobalOptions,
  path: string,
): Promise<number> {
  const witnesses = (options.witness ?? []).map(readKey);
  const key = options.key === undefined ? undefined : readKey(options.key);
  const since = options.since === undefined ? undefined : newestCheckpoint(readText(options.since));
  if (!existsSync(path)) throw new PkiError('INVALID_REQUEST', `there is no file ${path}`);
  const lines = createInterface({ input: createReadStream(path, 'utf8'), crlfDelay: Infinity });
  const verdict = await verifyExport(lines, {
    ...(key === undefined ? {} : { key }),
    ...(since === undefined ? {} : { since }),
    witnesses,
  });
  const silent = verdict.cosigned.filter(({ time }) => time === 0);
  const complete = `complete up to record ${verdict.size} of the tree, time ${verdict.size === 0 ? '-' : new Date(verdict.lastTimeMs).toISOString()}`;
  if (options.json)
    json(context, {
      verified: true,
      ...verdict,
      complete,
      keyFrom: key === undefined ? 'file' : 'given',
    });
  else showVerdict(context, { verdict, complete, key, cutChecked: since !== undefined });
  return verdict.out.length === 0 && silent.length === 0 ? exitCodes.ok : exitCodes.failed;
}

function showVerdict(
  context: CliContext,
  {
    verdict,
    complete,
    key,
    cutChecked,
  }: {
    readonly verdict: Awaited<ReturnType<typeof verifyExport>>;
    readonly complete: string;
    readonly key: NoteKey | undefined;
    readonly cutChecked: boolean;
  },
): void {
  facts(context, [
    ['verdict', complete],
    ['log', verdict.origin],
    ['records in the tree', String(verdict.size)],
    ['checkpoints', `${verdict.checkpoints}, all signed and consistent`],
    [
      'activations',
      `${verdict.activations.withList} with the list of who had confirmed, as their records have it; ${verdict.activations.without} before there were lists`,
    ],
    ['not in the tree yet', `${verdict.waiting}, by the word of the file`],
    ...verdict.cosigned.map(
      ({ witness, size, time }) =>
        [
          'witness',
          time === 0
            ? `${printable(witness)} has cosigned nothing`
            : `${printable(witness)}: up to ${size} records, ${instant(time)}`,
        ] as const,
    ),
    [
      'out of the tree',
      verdict.out.length === 0
        ? '0, by the word of the file'
        : verdict.out.map(({ sequence, reason }) => `record ${sequence}: ${reason}`).join('\n'),
    ],
    [
      'key',
      key === undefined
        ? `${verdict.verifierKey}\nfrom the file itself: compare it with the one you know, or give --key`
        : formatVerifierKey(key),
    ],
    ...(!cutChecked
      ? [
          [
            'end',
            'not checked: a log that was cut at an older checkpoint looks like this; give --since',
          ] as const,
        ]
      : []),
  ]);
}

function readKey(text: string): NoteKey {
  const parsed = parseVerifierKey(text.includes('+') ? text : readText(text));
  if (!parsed.ok) throw parsed.error;
  return parsed.value;
}

/** A note as it is, or the last line of a checkpoint file. */
function newestCheckpoint(text: string): string {
  if (!text.trimStart().startsWith('{')) return text;
  const last = text.split('\n').findLast((line) => line.trim() !== '') ?? '';
  try {
    return (JSON.parse(last) as { checkpoint: string }).checkpoint;
  } catch {
    throw new PkiError(
      'CHECKPOINT_INVALID',
      'the last line of the checkpoint file is not complete',
    );
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    throw new PkiError(
      'INVALID_REQUEST',
      `${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
      { next: 'Check the path and its permissions.' },
    );
  }
}
