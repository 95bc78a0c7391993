import type { Relationship__Output } from '../common/wire/generated/meshca/admin/v1/Relationship.ts';
import { sha256Hex } from '../common/x509/index.ts';
import type { CliContext } from './context.ts';
import { duration, facts, instant, printable, until } from './output.ts';
import { table } from './table.ts';
import { wrapped } from './wrap.ts';

/** fresh, stale, failing: one word for what a relationship gives now. */
export function conditionOf({ bundle, polls }: Relationship__Output): string {
  if (!bundle) return 'no bundle';
  if (polls?.stale) return 'stale';
  return polls?.failure ? 'failing' : 'fresh';
}

export function showRelationships(
  context: CliContext,
  relationships: readonly Relationship__Output[],
): void {
  table(
    context,
    [
      { title: 'TRUST DOMAIN', value: (row) => row.trustDomain },
      { title: 'PROFILE', value: (row) => row.endpointProfile, priority: 3 },
      { title: 'STATE', value: conditionOf },
      {
        title: 'SEQUENCE',
        value: (row) => (row.bundle ? String(row.bundle.sequence) : '-'),
        align: 'right',
        priority: 2,
      },
      {
        title: 'REFRESHED',
        value: (row) => instant(row.bundle ? (row.polls?.refreshedAt ?? 0) : 0),
      },
      { title: 'REASON', value: reasonOf },
    ],
    relationships,
    'no relationships; "meshca federation create" makes one',
  );
}

const reasonOf = ({ bundle, polls }: Relationship__Output): string =>
  polls?.failure?.code ??
  (bundle && bundle.leftOutRoots > 0 ? `${counted(bundle.leftOutRoots, 'root')} left out` : '-');

const leftOutText = ({ leftOutRoots }: { readonly leftOutRoots: number }): string =>
  `${counted(leftOutRoots, 'root')}, with a kind of key that relying parties do not know`;

export function showRelationship(context: CliContext, relationship: Relationship__Output): void {
  const { bundle, polls } = relationship;
  const lines: (readonly [string, string])[] = [
    ['trust domain', relationship.trustDomain],
    ['state', conditionOf(relationship)],
    ['endpoint', relationship.endpointUrl],
    ['profile', relationship.endpointProfile],
  ];
  if (relationship.endpointProfile === 'https_spiffe')
    lines.push(['endpoint id', relationship.endpointSpiffeId]);
  else
    lines.push([
      'web CAs',
      relationship.webRootsDer.map((der) => `SHA-256 ${sha256Hex(der)}`).join('\n') ||
        "the system's",
    ]);
  if (bundle)
    lines.push(
      ['sequence', String(bundle.sequence)],
      ['received', instant(bundle.receivedAt)],
      ['roots', bundle.rootsDer.map((der) => `SHA-256 ${sha256Hex(der)}`).join('\n') || '-'],
      ...(bundle.leftOutRoots > 0 ? [['left out', leftOutText(bundle)] as const] : []),
      ['JWT keys', bundle.jwtKeyIds.join('\n') || '-'],
      ['document', `SHA-256 ${bundle.documentSha256}`],
    );
  if (polls) lines.push(...pollLines(polls, context.now(), bundle !== null));
  lines.push(['created', `${instant(relationship.createdAt)} by ${relationship.createdBy}`]);
  facts(context, lines);
}

type Polls = NonNullable<Relationship__Output['polls']>;

const pollLines = (
  polls: Polls,
  now: number,
  hasBundle: boolean,
): readonly (readonly [string, string])[] => [
  ['refreshed', hasBundle ? instant(polls.refreshedAt) : '-'],
  ['asked', `${instant(polls.attemptedAt)}, every ${duration(polls.everySeconds)}`],
  ['asked again', until(polls.nextAt, now)],
  ...(polls.shrunk
    ? [['lost keys', `${instant(polls.shrunk.at)}: ${lostText(polls.shrunk)}`] as const]
    : []),
  ...(polls.failure
    ? [['failure', `${polls.failure.code}: ${polls.failure.message}`] as const]
    : []),
];

const lostText = ({ lostRoots, lostJwtKeys }: NonNullable<Polls['shrunk']>): string =>
  [
    ...lostRoots.map((sha256) => `root SHA-256 ${sha256}`),
    ...lostJwtKeys.map((keyId) => `JWT key ${keyId}`),
  ].join(', ');

/** What a relationship gives now, why, and what to do: one sentence a line. */
export function explainRelationship(
  context: Pick<CliContext, 'now'>,
  relationship: Relationship__Output,
): readonly string[] {
  const { trustDomain, bundle, polls } = relationship;
  const lines: string[] = [
    bundle
      ? `The bundle of ${trustDomain} in use has the sequence ${bundle.sequence}, ` +
        `${counted(bundle.rootsDer.length, 'root')} and ` +
        `${counted(bundle.jwtKeyIds.length, 'JWT key')}; it was received ` +
        `${instant(bundle.receivedAt)}.`
      : `There is no bundle of ${trustDomain} yet: its SVIDs are trusted by nobody here.`,
  ];
  if (bundle && bundle.rootsDer.length === 0)
    lines.push('It has no root: no X.509-SVID of this trust domain is trusted.');
  if (bundle && bundle.leftOutRoots > 0)
    lines.push(
      `Left out: ${leftOutText(bundle)}. What they signed is trusted by nobody here; known are RSA ` +
        'of 2048 to 8192 bits, P-256, P-384, P-521 and Ed25519.',
    );
  if (!polls) return [...lines, 'This server does not ask the endpoint: its database is held.'];
  if (polls.shrunk)
    lines.push(
      `At ${instant(polls.shrunk.at)} it lost keys: ${lostText(polls.shrunk)}. What these keys ` +
        'signed is trusted no more. A rotation of the other side ends so; where none was ' +
        'announced, ask its operators.',
    );
  if (polls.stale && bundle)
    lines.push(
      `It is stale: nothing has confirmed it since ${instant(polls.refreshedAt)}. It stays in ` +
        'use; a key that the other side has withdrawn since is still trusted here.',
    );
  if (!polls.failure)
    return [
      ...lines,
      polls.attemptedAt === 0
        ? 'This server has not asked the endpoint yet.'
        : `The endpoint confirmed it ${instant(polls.refreshedAt)}, and is asked again ` +
          `${until(polls.nextAt, context.now())}.`,
    ];
  const { code, message, next } = polls.failure;
  lines.push(`${counted(polls.failures, 'poll')} in a row brought nothing. ${code}: ${message}.`);
  return [
    ...lines,
    `The endpoint is asked again ${until(polls.nextAt, context.now())}, or at once by ` +
      `"meshca federation refresh ${trustDomain}".`,
    `Next: ${next}`,
  ];
}

const counted = (count: number, noun: string): string =>
  `${count} ${noun}${count === 1 ? '' : 's'}`;

export const printLines = (context: CliContext, lines: readonly string[]): void => {
  const { isTerminal, columns } = context.terminal;
  for (const line of lines)
    for (const part of wrapped(printable(line), isTerminal ? columns : 0)) context.out(`${part}\n`);
};
