import type { AcmeAccount__Output } from '../common/wire/generated/meshca/admin/v1/AcmeAccount.ts';
import type { AcmeOrder__Output } from '../common/wire/generated/meshca/admin/v1/AcmeOrder.ts';
import type { AcmeAuthorization__Output } from '../common/wire/generated/meshca/admin/v1/AcmeAuthorization.ts';
import type { EabKey__Output } from '../common/wire/generated/meshca/admin/v1/EabKey.ts';
import type { EabKeySource__Output } from '../common/wire/generated/meshca/admin/v1/EabKeySource.ts';
import type { CliContext } from './context.ts';
import { duration, facts, instant, until } from './output.ts';
import { table } from './table.ts';

type Account = AcmeAccount__Output;
type Order = AcmeOrder__Output;
type EabKey = EabKey__Output;

export const grantText = ({ dnsPatterns, ipRanges }: EabKey): string =>
  [...dnsPatterns, ...ipRanges].join(' ');

function keyEnd({ revokedAt, expiresAt, ended, source }: EabKey, now: number): string {
  if (revokedAt > 0) return `revoked ${instant(revokedAt)}`;
  if (ended !== '' && source !== null && expiresAt > now) return 'ended with its source';
  return until(expiresAt, now);
}

const sourceOf = (source: EabKeySource__Output): string =>
  source.issuer === ''
    ? `the SVID ${source.serial} of ${source.spiffeId}`
    : `a token of ${source.issuer} for ${source.subject}, as ${source.spiffeId} (entry ${source.entryId})`;

export function showEabKeys(context: CliContext, keys: readonly EabKey[]): void {
  table(
    context,
    [
      { title: 'ID', value: (row) => row.id, short: 'id' },
      { title: 'TENANT', value: (row) => row.tenant },
      { title: 'NAMES', value: grantText },
      { title: 'PROFILES', value: (row) => row.profiles.join(' '), priority: 2 },
      { title: 'PROOF', value: (row) => row.proof, priority: 3 },
      { title: 'ENDS', value: (row) => keyEnd(row, context.now()) },
      { title: 'DESCRIPTION', value: (row) => row.description, priority: 2 },
    ],
    keys,
    'no EAB keys; "meshca acme key create" makes one',
  );
}

const quotaOf = ({ quotaCertificates, quotaSeconds }: EabKey): string =>
  quotaCertificates === 0 ? 'none' : `${quotaCertificates} in ${duration(quotaSeconds)}`;

export function showEabKey(context: CliContext, key: EabKey): void {
  facts(context, [
    ['id', key.id],
    ['tenant', key.tenant],
    ['description', key.description || '-'],
    ['dns names', key.dnsPatterns.join('\n') || '-'],
    ['ip ranges', key.ipRanges.join('\n') || '-'],
    ['wildcards', key.wildcards ? 'yes' : 'no'],
    ['profiles', key.profiles.join(' ')],
    ['life', key.ttlSeconds === 0 ? 'as usual' : duration(key.ttlSeconds)],
    ['key types', key.keyTypes.join(' ')],
    ['proof', key.proof],
    ['challenges', key.challengeTypes.join(' ') || 'those of the server'],
    ['accounts', key.accountId === '' ? key.accounts : `${key.accounts}: ${key.accountId}`],
    ['quota', quotaOf(key)],
    ['ends', keyEnd(key, context.now())],
    ['state', key.ended === '' ? 'stands' : key.ended],
    ...(key.source === null
      ? []
      : ([
          ['exchanged for', sourceOf(key.source)],
          ['delegation', key.source.delegationId],
        ] as const)),
    ['created', `${instant(key.createdAt)} by ${key.createdBy}`],
  ]);
}

export function showAccounts(context: CliContext, accounts: readonly Account[]): void {
  table(
    context,
    [
      { title: 'ID', value: (row) => row.id, short: 'id' },
      { title: 'TENANT', value: (row) => row.tenant },
      { title: 'STATUS', value: (row) => row.status },
      { title: 'EAB KEY', value: (row) => row.eabKeyId, short: 'id' },
      { title: 'CONTACTS', value: (row) => row.contacts.join(' ') || '-', priority: 2 },
      { title: 'CREATED', value: (row) => instant(row.createdAt), priority: 3 },
    ],
    accounts,
    'no ACME accounts',
  );
}

export function showAccount(context: CliContext, account: Account): void {
  facts(context, [
    ['id', account.id],
    ['tenant', account.tenant],
    ['status', account.status],
    ['EAB key', account.eabKeyId],
    ['contacts', account.contacts.join('\n') || '-'],
    ['key', `${account.algorithm}, thumbprint ${account.thumbprint}`],
    ['created', instant(account.createdAt)],
    ['changed', instant(account.updatedAt)],
  ]);
}

/** The identifier as it was ordered. */
export const orderedName = ({ value, wildcard }: AcmeAuthorization__Output): string =>
  wildcard ? `*.${value}` : value;

export const namesOf = ({ authorizations }: Order): readonly string[] =>
  authorizations.map(orderedName);

export function showOrders(context: CliContext, orders: readonly Order[]): void {
  table(
    context,
    [
      { title: 'ID', value: (row) => row.id, short: 'id' },
      { title: 'TENANT', value: (row) => row.tenant, priority: 2 },
      { title: 'STATUS', value: (row) => row.status },
      { title: 'NAMES', value: (row) => namesOf(row).join(' ') },
      { title: 'ACCOUNT', value: (row) => row.accountId, short: 'id' },
      { title: 'CREATED', value: (row) => instant(row.createdAt), priority: 3 },
    ],
    orders,
    'no ACME orders',
  );
}

export function showOrder(context: CliContext, order: Order): void {
  facts(context, [
    ['id', order.id],
    ['tenant', order.tenant],
    ['status', order.status],
    ['names', namesOf(order).join('\n')],
    ['profile', order.profile],
    ['account', order.accountId],
    ['EAB key', order.eabKeyId],
    ['certificate', order.serial || '-'],
    ['replaces', order.replaces || '-'],
    ['problem', order.problem ? `${order.problem.type}: ${order.problem.detail}` : '-'],
    ['created', instant(order.createdAt)],
    ['ends', `${instant(order.expiresAt)} (${until(order.expiresAt, context.now())})`],
  ]);
  for (const authorization of order.authorizations) {
    context.out('\n');
    facts(context, [
      ['name', orderedName(authorization)],
      ['status', `${authorization.status}, shown by ${authorization.shownBy}`],
      ...authorization.challenges.map(
        ({ type, status, problem }) =>
          [type, problem ? `${status}: ${problem.type}: ${problem.detail}` : status] as const,
      ),
    ]);
  }
}
