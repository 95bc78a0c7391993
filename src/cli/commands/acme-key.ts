import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import type { CreateEabKeyRequest } from '../../common/wire/generated/meshca/admin/v1/CreateEabKeyRequest.ts';
import type { EabKeySecret__Output } from '../../common/wire/generated/meshca/admin/v1/EabKeySecret.ts';
import { clientOf, printEabKey, type AcmeClient } from '../acme-clients.ts';
import { showEabKey, showEabKeys } from '../acme-view.ts';
import { action, allPages, collect, limitOf, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { eabKeyId } from '../object-ids.ts';
import { acmeClients } from '../option-values.ts';
import { json, parseDuration } from '../output.ts';
import { quotaOf, quotaText } from '../quota.ts';
import { exchangeCommand } from './acme-exchange.ts';

/** Keys for external account binding: what an ACME client needs to make an account. */
export function acmeKeyCommands(acme: Command, context: CliContext, outcome: Outcome): void {
  const key = acme
    .command('key')
    .description('EAB keys: which names an ACME client may have, and until when');
  createCommand(key, context, outcome);
  listCommand(key, context, outcome);
  showCommand(key, context, outcome);
  revokeCommand(key, context, outcome);
  exchangeCommand(key, context, outcome);
}

interface CreateFlags {
  readonly dnsPattern?: readonly string[];
  readonly ipRange?: readonly string[];
  readonly wildcards?: boolean;
  readonly profile?: readonly string[];
  readonly ttl?: string;
  readonly keyType?: readonly string[];
  readonly proof?: string;
  readonly challenge?: readonly string[];
  readonly accounts?: string;
  readonly quota?: string;
  readonly expires?: string;
  readonly description?: string;
  readonly for?: string;
}

const requestOf = (tenant: string, flags: CreateFlags, now: number): CreateEabKeyRequest => ({
  tenant,
  description: flags.description ?? '',
  dnsPatterns: [...(flags.dnsPattern ?? [])],
  ipRanges: [...(flags.ipRange ?? [])],
  wildcards: flags.wildcards ?? false,
  profiles: [...(flags.profile ?? [])],
  ttlSeconds: flags.ttl === undefined ? 0 : parseDuration(flags.ttl),
  keyTypes: [...(flags.keyType ?? [])],
  proof: flags.proof ?? '',
  challengeTypes: [...(flags.challenge ?? [])],
  accounts: flags.accounts ?? '',
  ...quotaOf(flags.quota ?? 'none'),
  expiresAt: flags.expires === undefined ? 0 : now + parseDuration(flags.expires),
});

function createCommand(key: Command, context: CliContext, outcome: Outcome): void {
  key
    .command('create <tenant>')
    .description('make an EAB key of a tenant, and print what a client needs')
    .option('--dns-pattern <pattern>', 'repeat: DNS names; "*" matches one label', collect)
    .option('--ip-range <range>', 'repeat: IP addresses and ranges; needs every right', collect)
    .option('--wildcards', 'wildcard names may be ordered where a pattern begins with "*"')
    .option(
      '--profile <name>',
      'repeat: short, classic or hours; the first is that of orders that name none',
      collect,
    )
    .option('--ttl <duration>', 'life of the certificates; default: that of the profile')
    .option('--key-type <type>', 'repeat: an allowed key type; default: all', collect)
    .option('--proof <proof>', 'challenge (default), or owner: names are shown by nothing')
    .option(
      '--challenge <type>',
      'repeat: offered challenges; default: those of the server',
      collect,
    )
    .option('--accounts <number>', 'many (default), or single: for the first account')
    .option('--quota <quota>', quotaText)
    .option('--expires <duration>', 'nothing is issued after this time, renewals included')
    .option('--description <text>', 'what uses it')
    .option('--for <client>', `print its lines for ${acmeClients.join(', ')}`)
    .action(
      action<CreateFlags>(context, outcome, async (options, [tenant]) => {
        const client = clientOf(options.for);
        const made = await withAdmin(context, options, 'Acme', (calls) =>
          calls.call('CreateEabKey', requestOf(tenant as string, options, context.now())),
        );
        printSecret(context, options, made, client);
      }),
    );
}

const printSecret = (
  context: CliContext,
  { json: asJson }: { readonly json?: boolean },
  { key, macKey, directoryUrl }: EabKeySecret__Output,
  client: AcmeClient | undefined,
): void => {
  if (!key) throw new PkiError('NOT_FOUND', 'the server returned no EAB key');
  const account = {
    directoryUrl,
    keyId: key.id,
    macKey: macKey.toString('base64url'),
    names: key.dnsPatterns,
  };
  printEabKey(context, { asJson, client, account, more: { ...key } });
};

function listCommand(key: Command, context: CliContext, outcome: Outcome): void {
  key
    .command('list')
    .description('EAB keys')
    .option('--tenant <name>', 'of this tenant')
    .option('--all', 'include those that are revoked or have expired')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<{ tenant?: string; all?: boolean; limit?: string }>(
        context,
        outcome,
        async (options) => {
          const record = await withAdmin(context, options, 'Acme', (calls) =>
            allPages(context, limitOf(options), async (page) => {
              const { keys, nextPageToken } = await calls.call('ListEabKeys', {
                page,
                tenant: options.tenant ?? '',
                includeEnded: options.all ?? false,
              });
              return { items: keys, next: nextPageToken };
            }),
          );
          if (options.json) json(context, record);
          else showEabKeys(context, record);
        },
      ),
    );
}

function showCommand(key: Command, context: CliContext, outcome: Outcome): void {
  key
    .command('show <id>')
    .description('one EAB key, ended or not')
    .option('--secret', 'print the key ID and the MAC key again; it is on record')
    .option('--for <client>', `with --secret: its lines for ${acmeClients.join(', ')}`)
    .action(
      action<{ secret?: boolean; for?: string }>(context, outcome, async (options, [text]) => {
        const client = clientOf(options.for);
        const id = await eabKeyId(context, options, text as string);
        if (options.secret) {
          const secret = await withAdmin(context, options, 'Acme', (calls) =>
            calls.call('GetEabKeySecret', { id }),
          );
          printSecret(context, options, secret, client);
          return;
        }
        const shown = await withAdmin(context, options, 'Acme', (calls) =>
          calls.call('GetEabKey', { id }),
        );
        if (options.json) json(context, shown);
        else showEabKey(context, shown);
      }),
    );
}

function revokeCommand(key: Command, context: CliContext, outcome: Outcome): void {
  key
    .command('revoke <id>')
    .description('issue nothing to its accounts any more; their certificates live on')
    .option('--reason <text>', 'for the audit record', '')
    .action(
      action<{ reason: string }>(context, outcome, async (options, [text]) => {
        const id = await eabKeyId(context, options, text as string);
        const revoked = await withAdmin(context, options, 'Acme', (calls) =>
          calls.call('RevokeEabKey', { id, reason: options.reason }),
        );
        if (options.json) json(context, revoked);
        else context.out(`revoked ${revoked.id} of ${revoked.tenant}\n`);
      }),
    );
}
