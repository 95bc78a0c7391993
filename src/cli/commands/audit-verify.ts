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
import { action, collect, type GlobalOptions, type Outcome } from '../action.ts';
import type { CliContext } from '../context.ts';
import { exitCodes } from '../exit-codes.ts';
import { facts, instant, json, printable } from '../output.ts';

/** `meshca audit verify`. It needs no server and no database. */
export function verifyCommand(audit: Command, context: CliContext, outcome: Outcome): void {
  audit
    .command('verify <file>')
    .description('verify an export without server or database')
    .option('--key <key>', 'verifier key of the log (name+hash+key), or a file that contains it')
    .option(
      '--since <checkpoint>',
      'an earlier checkpoint (signed note, or a checkpoints.log): the log must continue from it',
    )
    .option(
      '--witness <key>',
      'repeat: verifier key of a witness that must have cosigned, or a file that contains it',
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
  const complete =
    `complete up to record ${verdict.size} of the tree, time ` +
    `${verdict.size === 0 ? '-' : new Date(verdict.lastTimeMs).toISOString()}`;
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
      `${verdict.activations.withList} with a list of who had confirmed, which agrees with ` +
        `the record; ${verdict.activations.without} from before such lists existed`,
    ],
    ['not in the tree yet', `${verdict.waiting}, according to the file`],
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
        ? '0, according to the file'
        : verdict.out.map(({ sequence, reason }) => `record ${sequence}: ${reason}`).join('\n'),
    ],
    [
      'key',
      key === undefined
        ? `${verdict.verifierKey}\nthis key comes from the file itself: compare it with the ` +
          'key that you know, or give --key'
        : formatVerifierKey(key),
    ],
    ...(!cutChecked
      ? [
          [
            'end',
            'not checked: a log that was cut at an older checkpoint looks the same; give --since',
          ] as const,
        ]
      : []),
  ]);
}

/** A verifier key as text, or a file that contains it. */
export function readKey(text: string): NoteKey {
  const parsed = parseVerifierKey(text.includes('+') ? text : readText(text));
  if (!parsed.ok) throw parsed.error;
  return parsed.value;
}

/** The note itself, or the last line of a checkpoint file. */
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
