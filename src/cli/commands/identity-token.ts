import type { Command } from 'commander';
import type { IdentityTokenGrant__Output } from '../../common/wire/generated/meshca/admin/v1/IdentityTokenGrant.ts';
import type { IdentityTokenNames__Output } from '../../common/wire/generated/meshca/admin/v1/IdentityTokenNames.ts';
import { action, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json, until } from '../output.ts';
import { table } from '../table.ts';
import { jobToken, type TokenSourceFlags } from '../token-source.ts';

/** Tokens that others issue: which issuers count, and what a token gives. */
export function identityTokenCommands(token: Command, context: CliContext, outcome: Outcome): void {
  token
    .command('issuers')
    .description('list the issuers whose tokens the server accepts, and whether they can be asked')
    .action(action<object>(context, outcome, (options) => issuers(context, options)));
  token
    .command('explain')
    .description('say what the token of an issuer gives, and why other entries do not match')
    .option('--token-file <file>', 'file with the token')
    .option('--token-env <name>', 'variable with the token')
    .option('--token-stdin', 'the token comes on standard input')
    .action(action<TokenSourceFlags>(context, outcome, (options) => explain(context, options)));
}

async function issuers(
  context: CliContext,
  options: Parameters<typeof withAdmin>[1] & { readonly json?: boolean },
): Promise<void> {
  const { issuers: listed } = await withAdmin(context, options, 'Tokens', (calls) =>
    calls.call('ListTokenIssuers', {}),
  );
  if (options.json) {
    json(context, listed);
    return;
  }
  table(
    context,
    [
      { title: 'NAME', value: (row) => row.name },
      { title: 'STATE', value: (row) => row.state },
      { title: 'PURPOSES', value: (row) => row.purposes.join(',') },
      { title: 'ISSUER', value: (row) => row.issuer },
      { title: 'ANSWERED', value: (row) => instant(row.answeredAt), priority: 2 },
      { title: 'REASON', value: (row) => row.reason, priority: 3 },
    ],
    listed,
    'no issuers of tokens; tokens.issuers of the server names them',
  );
}

async function explain(
  context: CliContext,
  options: TokenSourceFlags & Parameters<typeof withAdmin>[1] & { readonly json?: boolean },
): Promise<void> {
  const token = await jobToken(context, options);
  const told = await withAdmin(context, options, 'Tokens', (calls) =>
    calls.call('ExplainIdentityToken', { token }),
  );
  if (options.json) {
    json(context, told);
    return;
  }
  facts(context, [
    ['issuer', told.issuer],
    ['subject', told.subject],
    ['ends', `${instant(told.expiresAt)} (${until(told.expiresAt, context.now())})`],
    ['used', told.usedAt === 0 ? 'no' : instant(told.usedAt)],
  ]);
  context.out(`\nselectors\n${told.selectors.map((each) => `  ${each}\n`).join('')}`);
  const lines = [
    ...told.grants.flatMap((grant) => grantLines(grant, told.purposes)),
    ...told.refused.map(
      ({ spiffeId, entryId, reason }) => `  not ${spiffeId} (${entryId}): ${reason}\n`,
    ),
  ];
  context.out(`\nentries\n${lines.length === 0 ? '  none below this issuer\n' : lines.join('')}`);
}

/** The certificate of an identity, and the names of its delegations, as the issuer's purposes allow. */
function grantLines(
  { spiffeId, entryId, ttlSeconds, denied, names }: IdentityTokenGrant__Output,
  purposes: readonly string[],
): readonly string[] {
  const certificate = purposes.includes('pipeline')
    ? `  ${denied === '' ? 'gives' : 'would give'} ${spiffeId} for ${ttlSeconds} s ` +
      `(${entryId})${denied === '' ? '' : `, but the policy denies it: ${denied}`}\n`
    : `  is ${spiffeId} (${entryId}), without a certificate: its issuer has not the purpose pipeline\n`;
  if (!purposes.includes('acme')) return [certificate];
  if (names.length === 0)
    return [certificate, `  no EAB key: ${spiffeId} has no delegation of names\n`];
  return [certificate, ...names.map(namesLine)];
}

const namesLine = ({
  delegationId,
  tenant,
  profile,
  dnsPatterns,
  ipRanges,
}: IdentityTokenNames__Output): string =>
  `  ${tenant === '' ? 'no EAB key, since the identity has no tenant,' : `EAB keys of ${tenant}`} ` +
  `for ${[...dnsPatterns, ...ipRanges].join(' ')} (${profile}, ${delegationId})\n`;
