import { isErrorCode, PkiError, type ErrorCode } from '../common/errors/index.ts';
import type { Entry__Output } from '../common/wire/generated/meshca/admin/v1/Entry.ts';
import type { EntryResult__Output } from '../common/wire/generated/meshca/admin/v1/EntryResult.ts';
import type { GlobalOptions } from './action.ts';
import type { CliContext } from './context.ts';
import { exitCodeOf, exitCodes } from './exit-codes.ts';
import { duration, facts, instant, json, printError } from './output.ts';
import { table } from './table.ts';

export function showResults(
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
  // the first entry that failed decides the exit code
  return failed[0]?.problem
    ? exitCodeOf(new PkiError(knownCode(failed[0].problem.code), ''))
    : exitCodes.ok;
}

const knownCode = (code: string): ErrorCode => (isErrorCode(code) ? code : 'INTERNAL');

/** What entries give beside or instead of identities; no column where that is nothing. */
export const namesColumn = (
  entries: readonly Entry__Output[],
): readonly {
  readonly title: string;
  readonly value: (row: Entry__Output) => string;
}[] =>
  entries.every(({ dnsNames, ips }) => dnsNames.length + ips.length === 0)
    ? []
    : [
        {
          title: 'NAMES',
          value: ({ profile, dnsNames, ips }) =>
            [...dnsNames, ...ips].join(' ') +
            (profile === 'short' || profile === 'classic' ? ' (no identity)' : ''),
        },
      ];

export function showEntries(
  context: CliContext,
  entries: readonly Entry__Output[],
  empty: string,
): void {
  table(
    context,
    [
      { title: 'ID', value: (row) => row.id, short: 'id' },
      { title: 'SPIFFE ID', value: (row) => row.spiffeId },
      ...namesColumn(entries),
      { title: 'PARENT', value: (row) => row.parentId, priority: 2 },
      {
        title: 'TTL',
        value: (row) => (row.x509TtlSeconds === 0 ? 'default' : duration(row.x509TtlSeconds)),
        priority: 3,
      },
      { title: 'SELECTORS', value: (row) => row.selectors.join(' ') },
    ],
    entries,
    empty,
  );
}

export function showEntry(context: CliContext, options: GlobalOptions, entry: Entry__Output): void {
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
    ['ip addresses', entry.ips.join(' ') || '-'],
    ['hint', entry.hint || '-'],
    ['expires', instant(entry.expiresAt)],
    ['admin', entry.admin ? 'yes' : 'no'],
    ['downstream', entry.downstream ? 'yes' : 'no'],
    ['federates with', entry.federatesWith.join(' ') || '-'],
    ...entry.placeholders.map(
      ({ placeholder, allowed: values }) => [`{${placeholder}}`, values.join(' ')] as const,
    ),
    ['revision', String(entry.revision)],
    ['created', `${instant(entry.createdAt)} by ${entry.createdBy}`],
    ['updated', instant(entry.updatedAt)],
  ]);
}
