import type { TenantChange__Output } from '../common/wire/generated/meshca/admin/v1/TenantChange.ts';
import type { TenantEnd__Output } from '../common/wire/generated/meshca/admin/v1/TenantEnd.ts';
import type { TenantReport__Output } from '../common/wire/generated/meshca/admin/v1/TenantReport.ts';
import type { TenantView__Output } from '../common/wire/generated/meshca/admin/v1/TenantView.ts';
import type { Tenant__Output } from '../common/wire/generated/meshca/admin/v1/Tenant.ts';
import type { CliContext } from './context.ts';
import { duration, facts, instant, printable, until } from './output.ts';
import { table } from './table.ts';

const namesOf = (tenant: Tenant__Output | null): readonly string[] => [
  ...(tenant?.dnsSuffixes ?? []),
  ...(tenant?.spiffePrefixes ?? []),
];

/** `12 of 100 in 1 h`. */
function quotaText({ tenant, quotaUsed }: TenantView__Output): string {
  if (tenant === null || tenant.quotaCertificates === 0) return 'none';
  return `${quotaUsed} of ${tenant.quotaCertificates} in ${duration(tenant.quotaSeconds)}`;
}

export function showTenants(context: CliContext, tenants: readonly TenantView__Output[]): void {
  table(
    context,
    [
      { title: 'TENANT', value: ({ tenant }) => tenant?.name ?? '' },
      { title: 'STATE', value: ({ tenant }) => tenant?.state ?? '' },
      { title: 'NAMES', value: ({ tenant }) => namesOf(tenant).join(' ') },
      { title: 'QUOTA', value: quotaText, priority: 2 },
      { title: 'DESCRIPTION', value: ({ tenant }) => tenant?.description ?? '', priority: 3 },
    ],
    tenants,
    'no tenants; "meshca tenant create" makes one',
  );
}

export function showTenant(context: CliContext, report: TenantReport__Output): void {
  const { view } = report;
  const tenant = view?.tenant;
  if (!view || !tenant) return;
  facts(context, [
    ['tenant', tenant.name],
    ['state', tenant.state],
    ['description', tenant.description || '-'],
    ['DNS suffixes', tenant.dnsSuffixes.join('\n') || '-'],
    ['SPIFFE prefixes', tenant.spiffePrefixes.join('\n') || '-'],
    [
      'quota',
      quotaText(view) +
        (view.nextFreeAt === 0
          ? ''
          : `, the next place is free ${until(view.nextFreeAt, context.now())}`),
    ],
    ['entries', String(report.entries)],
    ...report.sample.map(({ id, spiffeId }) => ['', `${spiffeId} (${id})`] as const),
    [
      'live certificates',
      report.liveCertificates === 0
        ? '0'
        : `${report.liveCertificates}, the last one valid until ${instant(report.lastNotAfter)}`,
    ],
    ['EAB keys', countsOf(report.eabKeys, report.moreEabKeys, `key list --tenant ${tenant.name}`)],
    ...report.eabKeys
      .filter(({ state }) => state === 'active')
      .map(({ id, description }) => ['', `${id} ${description}`] as const),
    [
      'accounts',
      countsOf(report.accounts, report.moreAccounts, `account list --tenant ${tenant.name}`),
    ],
    ['version', String(tenant.version)],
    ['created', `${instant(tenant.createdAt)} by ${tenant.createdBy}`],
    ['updated', instant(tenant.updatedAt)],
  ]);
}

/** `3: 2 active, 1 revoked`. `list` shows those that the server did not list here. */
function countsOf(
  items: readonly { readonly state: string }[],
  more: number,
  list: string,
): string {
  const counts = Map.groupBy(items, ({ state }) => state);
  const parts = [...counts].map(([state, { length }]) => `${length} ${state}`);
  if (more > 0) parts.push(`${more} not looked at here, see meshca acme ${list}`);
  return parts.length === 0 ? '0' : `${items.length + more}: ${parts.join(', ')}`;
}

/** What the end of a tenant hits. */
export function showEnd(context: CliContext, plan: TenantEnd__Output): void {
  const { certificates, endpoints } = plan;
  facts(context, [
    ['tenant', plan.tenant?.name ?? ''],
    ['state', plan.tenant?.state ?? ''],
    ['entries', String(plan.entries)],
    ['delegations', String(plan.delegations)],
    ['EAB keys', String(plan.eabKeys)],
    ['accounts', String(plan.accounts)],
    ['open orders', String(plan.orders)],
    ['live certificates', `${certificates}, ${endpoints} of them for names without an identity`],
    ['roles', String(plan.roles)],
  ]);
  showAltered(context, plan.altered);
}

export function showAltered(
  context: CliContext,
  altered: readonly { readonly kind: string; readonly id: string }[],
): void {
  for (const { kind, id } of altered)
    context.err(
      `warning OBJECT_NOT_IN_LOG: the ${printable(kind)} ${printable(id)} of the tenant was altered ` +
        'or removed in the database\n',
    );
  if (altered.length > 0)
    context.err(
      'next: nothing is issued by them, and "meshca tenant delete" ends them for ever. ' +
        'Find who wrote to the database; see "meshca audit verify"\n',
    );
}

/** What a change takes from others. */
export function showChange(context: CliContext, change: TenantChange__Output): void {
  const { collisions, moreCollisions, dryRun } = change;
  if (collisions.length > 0) {
    table(
      context,
      [
        { title: 'KIND', value: ({ kind }) => kind },
        { title: 'ID', value: ({ id }) => id, short: 'id' },
        { title: 'SUBJECT', value: ({ subject }) => subject },
        { title: 'WHY', value: ({ why }) => why, priority: 2 },
      ],
      collisions,
      '',
    );
    const count = collisions.length + moreCollisions;
    context.err(
      `note: ${count} ${count === 1 ? 'has' : 'have'} names that are the tenant's and not their own; ` +
        `${dryRun ? 'they would be' : 'they are'} refused at the next issuance\n`,
    );
  }
  if (dryRun) context.out('nothing was changed: it was a dry run\n');
}

export const changedText = ({ tenant }: TenantChange__Output, verb: string): string =>
  `${verb} ${printable(tenant?.name ?? '')}: it owns ${namesOf(tenant).join(', ')}\n`;
