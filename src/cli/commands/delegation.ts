import type { Command } from 'commander';
import type {
  Delegation,
  Delegation__Output,
} from '../../common/wire/generated/meshca/admin/v1/Delegation.ts';
import { action, allPages, collect, limitOf, theOne, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { delegationId } from '../object-ids.ts';
import { duration, facts, instant, json, parseDuration, until } from '../output.ts';
import { table } from '../table.ts';

/** Delegations. Each names a control plane and the identities that it may sign. */
export function delegationCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const delegation = program
    .command('delegation')
    .description('control planes that may sign identities');
  createCommand(delegation, context, outcome);
  listCommand(delegation, context, outcome);
  showCommand(delegation, context, outcome);
  deleteCommand(delegation, context, outcome);
}

interface DelegationFlags {
  readonly clientId: string;
  readonly pattern?: readonly string[];
  readonly maxTtl: string;
  readonly keyType?: readonly string[];
  readonly dnsPattern?: readonly string[];
  readonly ipRange?: readonly string[];
  readonly wildcards?: boolean;
  readonly profile?: string;
  readonly expires?: string;
}

const draftOf = (flags: DelegationFlags, now: number): Delegation => ({
  clientId: flags.clientId,
  patterns: [...(flags.pattern ?? [])],
  maxTtlSeconds: parseDuration(flags.maxTtl),
  keyTypes: [...(flags.keyType ?? [])],
  dnsPatterns: [...(flags.dnsPattern ?? [])],
  ipRanges: [...(flags.ipRange ?? [])],
  wildcards: flags.wildcards ?? false,
  profile: flags.profile ?? '',
  expiresAt: flags.expires === undefined ? 0 : now + parseDuration(flags.expires),
});

function createCommand(delegation: Command, context: CliContext, outcome: Outcome): void {
  delegation
    .command('create')
    .description('let a client sign identities, or names, that match patterns')
    .requiredOption('--client-id <id>', 'SPIFFE ID of the control plane')
    .option(
      '--pattern <pattern>',
      'repeat: SPIFFE IDs; "*" matches one segment, "/**" at the end matches any number',
      collect,
    )
    .requiredOption('--max-ttl <duration>', 'longest life that the client may request')
    .option('--key-type <type>', 'repeat: an allowed key type; default: all', collect)
    .option('--dns-pattern <pattern>', 'repeat: DNS names that the client may request', collect)
    .option(
      '--ip-range <range>',
      'repeat: addresses that it may request, with a names profile',
      collect,
    )
    .option('--wildcards', 'it may request wildcard names, with a names profile')
    .option(
      '--profile <name>',
      'short-lived (default) or revocable; of names without an identity: short, classic or hours',
    )
    .option('--expires <duration>', 'the delegation itself ends after this time')
    .action(
      action<DelegationFlags>(context, outcome, async (options) => {
        const made = await withAdmin(context, options, 'Delegations', (calls) =>
          calls.call('CreateDelegation', { delegation: draftOf(options, context.now()) }),
        );
        if (options.json) json(context, made);
        else
          context.out(
            `created ${made.id}: ${made.clientId} may sign ${grantOf(made).join(', ')} for ` +
              `up to ${duration(made.maxTtlSeconds)}\n`,
          );
      }),
    );
}

/** What it is for: identities, or names where there are none. */
const grantOf = ({ patterns, dnsPatterns, ipRanges }: Delegation__Output): readonly string[] =>
  patterns.length > 0 ? patterns : [...dnsPatterns, ...ipRanges];

function listCommand(delegation: Command, context: CliContext, outcome: Outcome): void {
  delegation
    .command('list')
    .description('delegations')
    .option('--all', 'include revoked delegations')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<{ all?: boolean; limit?: string }>(context, outcome, async (options) => {
        const record = await withAdmin(context, options, 'Delegations', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { delegations, nextPageToken } = await calls.call('ListDelegations', {
              page,
              includeRevoked: options.all ?? false,
            });
            return { items: delegations, next: nextPageToken };
          }),
        );
        if (options.json) {
          json(context, record);
          return;
        }
        table(
          context,
          [
            { title: 'ID', value: (row) => row.id, short: 'id' },
            { title: 'CLIENT', value: (row) => row.clientId },
            { title: 'MAX TTL', value: (row) => duration(row.maxTtlSeconds), priority: 2 },
            {
              title: 'ENDS',
              value: (row) =>
                row.revokedAt > 0
                  ? `revoked ${instant(row.revokedAt)}`
                  : until(row.expiresAt, context.now()),
            },
            { title: 'PATTERNS', value: (row) => grantOf(row).join(' ') },
          ],
          record,
          'no delegations',
        );
      }),
    );
}

function showCommand(delegation: Command, context: CliContext, outcome: Outcome): void {
  delegation
    .command('show <id>')
    .description('show one delegation, revoked or not')
    .action(
      action(context, outcome, async (options, [text]) => {
        const id = await delegationId(context, options, text as string);
        const record = await withAdmin(context, options, 'Delegations', (calls) =>
          theOne<Delegation__Output>(
            `delegation ${JSON.stringify(id)}`,
            ({ id: row }) => row === id,
            async (page) => {
              const { delegations, nextPageToken } = await calls.call('ListDelegations', {
                page,
                includeRevoked: true,
              });
              return { items: delegations, next: nextPageToken };
            },
          ),
        );
        if (options.json) {
          json(context, record);
          return;
        }
        facts(context, [
          ['id', record.id],
          ['client', record.clientId],
          ['patterns', record.patterns.join('\n') || '-'],
          ['max ttl', duration(record.maxTtlSeconds)],
          ['key types', record.keyTypes.join(' ') || 'all'],
          ['dns names', record.dnsPatterns.join(' ') || '-'],
          ['ip ranges', record.ipRanges.join(' ') || '-'],
          ['wildcards', record.wildcards ? 'yes' : 'no'],
          ['profile', record.profile],
          [
            'ends',
            record.expiresAt === 0
              ? '-'
              : `${instant(record.expiresAt)} (${until(record.expiresAt, context.now())})`,
          ],
          ['revoked', instant(record.revokedAt)],
          ['created', `${instant(record.createdAt)} by ${record.createdBy}`],
        ]);
      }),
    );
}

function deleteCommand(delegation: Command, context: CliContext, outcome: Outcome): void {
  delegation
    .command('delete <id>')
    .description('revoke a delegation immediately')
    .option('--reason <text>', 'for the audit record', '')
    .action(
      action<{ reason: string }>(context, outcome, async (options, [id]) => {
        const revoked = await withAdmin(context, options, 'Delegations', async (calls) =>
          calls.call('RevokeDelegation', {
            id: await delegationId(context, options, id as string),
            reason: options.reason,
          }),
        );
        if (options.json) json(context, revoked);
        else context.out(`revoked ${revoked.id} of ${revoked.clientId}\n`);
      }),
    );
}
