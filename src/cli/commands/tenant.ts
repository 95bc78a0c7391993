import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import type { TenantEnd__Output } from '../../common/wire/generated/meshca/admin/v1/TenantEnd.ts';
import type { Tenant__Output } from '../../common/wire/generated/meshca/admin/v1/Tenant.ts';
import { action, allPages, collect, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import { consent } from '../consent.ts';
import type { CliContext } from '../context.ts';
import { json, printable } from '../output.ts';
import { quotaOf, quotaText } from '../quota.ts';
import {
  changedText,
  showAltered,
  showChange,
  showEnd,
  showTenant,
  showTenants,
} from '../tenant-view.ts';
import { revokeAll } from './certificate-revoke.ts';

/** Tenants: who owns names. */
export function tenantCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const tenant = program
    .command('tenant')
    .description('who owns DNS suffixes and SPIFFE ID prefixes, with quotas');
  createCommand(tenant, context, outcome);
  listCommand(tenant, context, outcome);
  showCommand(tenant, context, outcome);
  updateCommand(tenant, context, outcome);
  endCommand(tenant, context, outcome);
  deleteCommand(tenant, context, outcome);
}

interface TenantFlags {
  readonly dnsSuffix?: readonly string[];
  readonly spiffePrefix?: readonly string[];
  readonly description?: string;
  readonly quota?: string;
  readonly dryRun?: boolean;
}

const suffixText = 'repeat: the name itself and every name below it, such as shop.example.org';
const prefixText = 'repeat: every SPIFFE ID below it; it ends in a slash';

function createCommand(tenant: Command, context: CliContext, outcome: Outcome): void {
  tenant
    .command('create <name>')
    .description('give names to a tenant; entries and delegations of others lose them')
    .option('--dns-suffix <name>', suffixText, collect)
    .option('--spiffe-prefix <id>', prefixText, collect)
    .option('--description <text>', 'what it is, and whom to ask')
    .option('--quota <quota>', quotaText)
    .option('--dry-run', 'show what would collide; change nothing')
    .action(
      action<TenantFlags>(context, outcome, async (options, [name]) => {
        const change = await withAdmin(context, options, 'Tenants', (calls) =>
          calls.call('CreateTenant', {
            tenant: {
              name: name as string,
              description: options.description ?? '',
              dnsSuffixes: [...(options.dnsSuffix ?? [])],
              spiffePrefixes: [...(options.spiffePrefix ?? [])],
              ...quotaOf(options.quota ?? 'none'),
            },
            dryRun: options.dryRun ?? false,
          }),
        );
        if (options.json) {
          json(context, change);
          return;
        }
        if (!change.dryRun) context.out(changedText(change, 'created'));
        showChange(context, change);
      }),
    );
}

function listCommand(tenant: Command, context: CliContext, outcome: Outcome): void {
  tenant
    .command('list')
    .description('tenants')
    .option('--all', 'include those that have ended')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<{ all?: boolean; limit?: string }>(context, outcome, async (options) => {
        const tenants = await withAdmin(context, options, 'Tenants', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { tenants: items, nextPageToken } = await calls.call('ListTenants', {
              page,
              includeEnded: options.all ?? false,
            });
            return { items, next: nextPageToken };
          }),
        );
        if (options.json) json(context, tenants);
        else showTenants(context, tenants);
      }),
    );
}

function showCommand(tenant: Command, context: CliContext, outcome: Outcome): void {
  tenant
    .command('show <name>')
    .description('names, quota, entries, keys, accounts and live certificates of a tenant')
    .action(
      action(context, outcome, async (options, [name]) => {
        const report = await withAdmin(context, options, 'Tenants', (calls) =>
          calls.call('GetTenant', { name: name as string }),
        );
        if (options.json) json(context, report);
        else showTenant(context, report);
      }),
    );
}

function updateCommand(tenant: Command, context: CliContext, outcome: Outcome): void {
  tenant
    .command('update <name>')
    .description('change a tenant; what is not stated stays as it is')
    .option('--dns-suffix <name>', `${suffixText}; replaces all of them`, collect)
    .option('--spiffe-prefix <id>', `${prefixText}; replaces all of them`, collect)
    .option('--no-dns-suffixes', 'take all DNS suffixes away')
    .option('--no-spiffe-prefixes', 'take all SPIFFE ID prefixes away')
    .option('--description <text>', 'what it is, and whom to ask')
    .option('--quota <quota>', quotaText)
    .option('--dry-run', 'show what would collide; change nothing')
    .action(
      action<UpdateFlags>(context, outcome, async (options, [name]) => {
        const change = await withAdmin(context, options, 'Tenants', async (calls) => {
          const { view } = await calls.call('GetTenant', { name: name as string });
          const before = view?.tenant;
          if (!before) throw new PkiError('NOT_FOUND', 'the server returned no tenant');
          const { quotaCertificates, quotaSeconds } = before;
          return calls.call('UpdateTenant', {
            tenant: {
              name: before.name,
              description: options.description ?? before.description,
              dnsSuffixes: options.dnsSuffixes
                ? [...(options.dnsSuffix ?? before.dnsSuffixes)]
                : [],
              spiffePrefixes: options.spiffePrefixes
                ? [...(options.spiffePrefix ?? before.spiffePrefixes)]
                : [],
              ...(options.quota === undefined
                ? { quotaCertificates, quotaSeconds }
                : quotaOf(options.quota)),
            },
            version: before.version,
            dryRun: options.dryRun ?? false,
          });
        });
        if (options.json) {
          json(context, change);
          return;
        }
        if (!change.dryRun) context.out(changedText(change, 'changed'));
        showChange(context, change);
      }),
    );
}

interface UpdateFlags extends TenantFlags {
  /** False with the flag that takes them away. */
  readonly dnsSuffixes: boolean;
  readonly spiffePrefixes: boolean;
}

interface EndFlags {
  readonly reason?: string;
  readonly revoke?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

function endCommand(tenant: Command, context: CliContext, outcome: Outcome): void {
  tenant
    .command('end <name>')
    .description('issue nothing for its names any more; with --revoke its certificates end too')
    .option('--reason <text>', 'for the audit log')
    .option('--revoke', 'revoke all its certificates (cessationOfOperation)')
    .option('--dry-run', 'show what would end, and with --revoke what would be revoked')
    .option('--yes', 'do not ask')
    .action(
      action<EndFlags>(context, outcome, async (options, [name]) => {
        const asJson = options.json ?? false;
        const selected = { ...options, reason: 'cessationOfOperation' };
        const plan = await withAdmin(context, options, 'Tenants', (calls) =>
          calls.call('PreviewTenantEnd', { name: name as string }),
        );
        if (options.dryRun) {
          if (asJson) json(context, plan);
          else {
            showEnd(context, plan);
            if (options.revoke) await revokeAll(context, selected, { tenant: name as string });
            else context.out('nothing was changed: it was a dry run\n');
          }
          return;
        }
        const ended = await endTenant(context, options, plan);
        if (!options.revoke) {
          if (asJson) json(context, ended);
          else if (ended?.state === 'ended')
            context.out(
              'its certificates stay valid until they end; ' +
                `"meshca tenant end ${printable(ended.name)} --revoke" revokes them\n`,
            );
          return;
        }
        await revokeAll(context, selected, { tenant: name as string });
      }),
    );
}

/** Ends a tenant that is active, once the operator has seen what that hits and agreed. */
async function endTenant(
  context: CliContext,
  options: EndFlags & GlobalOptions,
  plan: TenantEnd__Output,
): Promise<Tenant__Output | null> {
  const { tenant } = plan;
  if (tenant === null || tenant.state !== 'active') {
    if (options.json !== true)
      context.out(`${printable(tenant?.name ?? '')} is ${tenant?.state ?? 'gone'} already\n`);
    return tenant;
  }
  if (options.yes !== true) showEnd(context, plan);
  await consent(
    context,
    options.yes,
    `End the tenant ${tenant.name}? Nothing is issued for its names any more.`,
  );
  const ended = await withAdmin(context, options, 'Tenants', (calls) =>
    calls.call('EndTenant', { name: tenant.name, reason: options.reason ?? '' }),
  );
  if (options.json !== true) context.out(`ended ${printable(ended.name)}\n`);
  showAltered(context, plan.altered);
  return ended;
}

function deleteCommand(tenant: Command, context: CliContext, outcome: Outcome): void {
  tenant
    .command('delete <name>')
    .description('free the names of a tenant that has ended')
    .option('--reason <text>', 'for the audit log')
    .option('--yes', 'do not ask')
    .action(
      action<{ reason?: string; yes?: boolean }>(context, outcome, async (options, [name]) => {
        await consent(
          context,
          options.yes,
          `Delete the tenant ${name}? Its names are free for others, its EAB keys end for ever.`,
        );
        const ended = await withAdmin(context, options, 'Tenants', (calls) =>
          calls.call('DeleteTenant', { name: name as string, reason: options.reason ?? '' }),
        );
        if (options.json) {
          json(context, { deleted: name, ...ended });
          return;
        }
        context.out(
          `deleted ${name}: its names are free; ${ended.eabKeys} EAB keys and ` +
            `${ended.accounts} accounts have ended\n`,
        );
        showAltered(context, ended.altered);
      }),
    );
}
