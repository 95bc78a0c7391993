import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import {
  EvidenceCheck,
  type EvidenceLine,
  type EvidenceStatement,
} from '../../common/tlog/index.ts';
import { action, type GlobalOptions, type Outcome } from '../action.ts';
import { authorityId } from '../authority-id.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json, printable } from '../output.ts';
import { table } from '../table.ts';
import { shortId } from '../rotation-picture.ts';

interface Read {
  readonly sha256: string;
  readonly sequence: number;
  readonly statement: EvidenceStatement;
  readonly consumers: readonly EvidenceLine[];
}

/** `meshca authority evidence`. It goes below `meshca authority`, which must exist. */
export function evidenceCommand(program: Command, context: CliContext, outcome: Outcome): void {
  const authority = program.commands.find((command) => command.name() === 'authority');
  if (authority === undefined) throw new Error('the command authority does not exist yet');
  authority
    .command('evidence <id>')
    .description(
      'show the consumers that were counted before this authority signed: who had it, who ' +
        'was passed over and why, whose leaves had expired',
    )
    .action(
      action(context, outcome, async (options, [id]) => {
        const evidence = await read(
          context,
          options,
          await authorityId(context, options, id as string),
        );
        if (options.json) json(context, evidence);
        else show(context, evidence);
      }),
    );
}

/** Reads the list and checks it again: its digest must be the one in the record. */
async function read(context: CliContext, options: GlobalOptions, id: string): Promise<Read> {
  return withAdmin(context, options, 'Authorities', async (calls) => {
    let check: EvidenceCheck | undefined;
    let head = { sha256: '', sequence: 0 };
    const consumers: EvidenceLine[] = [];
    for await (const { statement, lines } of calls.stream(
      'GetActivationEvidence',
      { id },
      context.signal,
    )) {
      if (statement) {
        head = { sha256: statement.sha256, sequence: statement.sequence };
        check = new EvidenceCheck(
          { authorityId: id, sha256: statement.sha256 },
          statement.statement,
        );
      } else if (lines && check !== undefined)
        for (const line of check.chunk(lines)) consumers.push(line);
    }
    if (context.signal.aborted || check === undefined)
      throw new PkiError('CANCELLED', 'the list is not complete');
    return { ...head, statement: check.finish(), consumers };
  });
}

const percent = (share: number): string => `${Math.round(share * 100)}%`;

function show(context: CliContext, read: Read): void {
  showStatement(context, read);
  context.out('\n');
  showConsumers(context, read.consumers);
}

function showStatement(context: CliContext, { sha256, sequence, statement }: Read): void {
  const { authority, proven, inferred, unprovable, lines, without } = statement;
  facts(context, [
    ['authority', `${authority.kind} ${authority.id}, published ${instant(authority.publishedAt)}`],
    [
      'signs since',
      `${instant(statement.decidedAt)}${statement.scope === '{}' ? '' : `, for ${statement.scope}`}`,
    ],
    [
      'decided by',
      without.kind === 'proven'
        ? `confirmations; required: ${percent(statement.shares.proven)} of the proven, ` +
          `${percent(statement.shares.inferred)} of the inferred`
        : without.kind === 'forced'
          ? `force, by ${without.by}: ${without.reason}`
          : without.kind === 'ended'
            ? `the end of the previous authority at ${instant(without.deadline)}: nobody was left to confirm`
            : `the deadline ${instant(without.deadline)}`,
    ],
    [
      'proven',
      `${proven.confirmed} of ${proven.needed}; ${lines.passedOver} passed over, ` +
        `${lines.expired} agents were away until all their leaves had expired`,
    ],
    ...(statement.alteredAgents === 0
      ? []
      : [
          [
            'altered',
            `${statement.alteredAgents} agents differed between database and log: they are not in this list`,
          ] as const,
        ]),
    [
      'inferred',
      inferred.needed === 0
        ? 'nobody'
        : `${inferred.confirmed} of ` +
          `${inferred.needed}${inferred.relied > 0 ? `; earlier leaves had expired by ${instant(inferred.relied)}` : ''}${inferred.until > statement.decidedAt ? `; the rest was not waited for (until ${instant(inferred.until)})` : ''}`,
    ],
    [
      'unseen',
      unprovable.until === 0
        ? 'nobody'
        : unprovable.until > statement.decidedAt
          ? `not waited for (until ${instant(unprovable.until)})`
          : `waited until ${instant(unprovable.until)}`,
    ],
    [
      'record',
      sequence === 0
        ? `sha256 ${sha256}`
        : `${sequence} of the audit log, which commits to sha256 ${sha256}`,
    ],
  ]);
}

function showConsumers(context: CliContext, consumers: Read['consumers']): void {
  table(
    context,
    [
      {
        title: 'CLASS',
        value: (line) => (line.class === 'passed-over' ? `passed over: ${line.why}` : line.class),
      },
      { title: 'NODE', value: (line) => line.agent.split('/').at(-1) ?? line.agent },
      {
        title: 'KIND',
        value: (line) => (line.class === 'expired' ? 'agent' : line.kind),
        priority: 4,
      },
      {
        title: 'WHO',
        value: (line) =>
          line.class === 'expired' || line.kind === 'agent'
            ? 'the agent itself'
            : [line.spiffeId, line.description].filter((text) => text !== '').join(' '),
      },
      {
        title: 'HELD',
        value: (line) =>
          line.class === 'proven'
            ? `${line.of} set ${line.set.slice(0, 12)}`
            : line.class === 'expired'
              ? '-'
              : line.holds.map(shortId).join(', ') || '-',
      },
      {
        title: 'SINCE',
        value: (line) =>
          line.class === 'proven'
            ? instant(line.heardAt)
            : line.class === 'expired'
              ? `expired ${instant(line.until)}`
              : `${line.state}${line.reason === '' ? '' : ` (${printable(line.reason)})`}, ` +
                `seen ${instant(line.lastSeenAt)}`,
      },
    ],
    consumers,
    'nobody had to confirm it',
  );
}
