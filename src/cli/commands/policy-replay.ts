import { createReadStream, existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import {
  maximumGroups,
  PolicyReplay,
  type ReplayGroup,
  type ReplayTotals,
} from '../../common/policy/index.ts';
import { parseInstant } from '../../common/runtime/instant.ts';
import { parseRecordLine, verifyExport, type NoteKey } from '../../common/tlog/index.ts';
import { action, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json, parseAge } from '../output.ts';
import { policyOfText, textOf } from '../policy-source.ts';
import { showProgress } from '../progress.ts';
import { table } from '../table.ts';
import { readKey } from './audit-verify.ts';

interface ReplayFlags {
  readonly since?: string;
  readonly from?: string;
  readonly to?: string;
  readonly limit?: string;
  readonly export?: string;
  readonly key?: string;
}

interface Range {
  readonly sinceMs: number;
  /** 0: no bound. */
  readonly untilMs: number;
}

interface ExportedRange extends Range {
  readonly path: string;
  /** Undefined: the one in the file, which does not prove who made it. */
  readonly key: NoteKey | undefined;
  readonly limit: number;
}

interface Replayed {
  readonly groups: readonly (Omit<ReplayGroup, 'change' | 'kind'> & {
    readonly change: string;
    readonly kind: string;
  })[];
  readonly totals: ReplayTotals & { readonly groups: number };
}

const defaultSince = '7d';

/** Plays what was issued and refused against another policy. */
export function policyReplayCommand(policy: Command, context: CliContext, outcome: Outcome): void {
  policy
    .command('replay <file>')
    .description('decide recorded issuances by the policy of a file, and say who would lose what')
    .option('--since <duration>', `only newer records; default: ${defaultSince}`)
    .option('--from <instant>', 'only records from this instant on (ISO 8601)')
    .option('--to <instant>', 'only records up to this instant')
    .option('--limit <n>', 'the maximum number of rows', '100')
    .option('--export <file>', 'the records of an audit export, which is verified; no server')
    .option('--key <key>', 'with --export: verifier key of the log, or a file that contains it')
    .action(
      action<ReplayFlags>(context, outcome, async (options, [file]) => {
        const range = rangeOf(options, context.now());
        const text = await textOf(context, file as string);
        const { policy: changed } = await policyOfText(text, file as string);
        // the server and an export keep no more groups than this
        const limit = Math.min(limitOf(options), maximumGroups);
        const replayed =
          options.export === undefined
            ? await replayAtServer(context, options, { text, ...range, limit })
            : await replayExport(context, new PolicyReplay(changed), {
                path: options.export,
                key: options.key === undefined ? undefined : readKey(options.key),
                ...range,
                limit,
              });
        if (options.json) json(context, replayed);
        else show(context, replayed);
      }),
    );
}

function rangeOf({ since, from, to }: ReplayFlags, now: number): Range {
  if (since !== undefined && from !== undefined)
    throw new PkiError('INVALID_REQUEST', '--since and --from are two beginnings', {
      next: 'Give one of them.',
    });
  const sinceMs =
    from === undefined ? (now - parseAge(since ?? defaultSince)) * 1000 : millisecondsOf(from);
  // the whole second counts
  const untilMs = to === undefined ? 0 : millisecondsOf(to) + 999;
  if (untilMs !== 0 && untilMs < sinceMs)
    throw new PkiError('INVALID_REQUEST', 'the end of the time is before its beginning');
  return { sinceMs, untilMs };
}

function millisecondsOf(text: string): number {
  const at = parseInstant(text);
  if (at === undefined)
    throw new PkiError('INVALID_REQUEST', `${JSON.stringify(text)} is no instant`, {
      next: 'Write it as 2026-11-30 or 2026-11-30T09:00:00Z.',
    });
  return at * 1000;
}

async function replayAtServer(
  context: CliContext,
  options: GlobalOptions,
  request: Range & { readonly text: string; readonly limit: number },
): Promise<Replayed> {
  let read = '';
  const ended = showProgress(context, () => `the server reads its log${read}`);
  try {
    return await withAdmin(context, options, 'Policies', async (calls) => {
      const groups: Replayed['groups'][number][] = [];
      for await (const step of calls.stream('ReplayPolicy', request, context.signal)) {
        if (step.atMs !== 0) read = `: ${step.records} records, back to ${time(step.atMs)}`;
        groups.push(...step.groups);
        if (step.totals !== null) return { groups, totals: step.totals };
      }
      throw new PkiError('CANCELLED', 'the replay ended before its result');
    });
  } finally {
    ended();
  }
}

/** Verifies the export while it is read: nothing is shown of an altered one. */
async function replayExport(
  context: CliContext,
  replay: PolicyReplay,
  { path, key, sinceMs, untilMs, limit }: ExportedRange,
): Promise<Replayed> {
  if (!existsSync(path)) throw new PkiError('INVALID_REQUEST', `there is no file ${path}`);
  let read = 0;
  const ended = showProgress(context, () => `${path}: ${read} lines so far`);
  async function* lines(): AsyncGenerator<string> {
    const input = createReadStream(path, 'utf8');
    try {
      for await (const line of createInterface({ input, crlfDelay: Infinity })) {
        context.signal.throwIfAborted();
        read += 1;
        yield line;
        // verified by now, or it stands outside the tree
        const record = parseRecordLine(line);
        if (record === undefined || record.timeMs < sinceMs) continue;
        if (untilMs !== 0 && record.timeMs > untilMs) continue;
        replay.add(record.sequence, record.act);
      }
    } finally {
      input.destroy();
    }
  }
  try {
    await verifyExport(lines(), key === undefined ? {} : { key });
  } finally {
    ended();
  }
  if (key === undefined)
    context.err('note: the key of the log comes from the file itself; --key proves who made it\n');
  const groups = replay.groups();
  return {
    groups: groups.slice(0, limit),
    totals: { ...replay.totals(), groups: groups.length },
  };
}

const time = (ms: number): string => instant(Math.floor(ms / 1000));

function show(context: CliContext, { groups, totals }: Replayed): void {
  for (const [change, title] of [
    ['lost', 'would be denied'],
    ['gained', 'would be allowed'],
  ] as const) {
    const rows = groups.filter((group) => group.change === change);
    if (rows.length === 0) continue;
    context.out(`${title}:\n`);
    table(
      context,
      [
        { title: 'IDENTITY', value: ({ identity }) => identity },
        { title: 'KIND', value: ({ kind }) => kind, priority: 3 },
        { title: 'RULE', value: ({ rule }) => (rule === '' ? '(none matches)' : rule) },
        { title: 'COUNT', value: ({ count }) => String(count), align: 'right' },
        { title: 'LAST', value: ({ newestMs }) => time(newestMs), priority: 2 },
        { title: 'CALLER', value: ({ caller }) => caller, priority: 4 },
      ],
      rows,
      '',
    );
    context.out('\n');
  }
  if (totals.groups > groups.length)
    context.err(`only the first ${groups.length} are listed; --limit shows more\n`);
  facts(context, totalRows(totals));
}

function totalRows(totals: Replayed['totals']): readonly (readonly [string, string])[] {
  const { records, decided, lost, gained, older, differing, unproven, ungrouped } = totals;
  const rows: (readonly [string, number, string])[] = [
    ['would be denied', lost, 'that were issued'],
    ['would be allowed', gained, 'that were denied'],
    ['older', older, 'whose records lack facts: not replayed'],
    ['differing', differing, 'whose facts are not the decided ones'],
    ['unproven', unproven, 'records that the log does not vouch for'],
    ['not grouped', ungrouped, 'of too many groups to keep'],
  ];
  return [
    ['decided again', `${decided}, of ${records} records`],
    ...rows
      .filter(([name, count]) => count > 0 || name.startsWith('would'))
      .map(([name, count, what]) => [name, `${count} ${what}`] as const),
  ];
}
