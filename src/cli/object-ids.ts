import { isUuid } from '../common/runtime/index.ts';
import type { GlobalOptions } from './action.ts';
import { withAdmin } from './connect.ts';
import type { CliContext } from './context.ts';
import { everyItem, fullId } from './short-id.ts';

// Resolves IDs that are given whole or as tables show them. A text with the length of a whole ID
// goes to the server unchanged.

type Resolve = (context: CliContext, options: GlobalOptions, text: string) => Promise<string>;

export const tokenId: Resolve = async (context, options, text) =>
  isUuid(text)
    ? text
    : withAdmin(context, options, 'Tokens', (calls) =>
        fullId(text, {
          what: 'join token',
          list: 'token list',
          ids: () =>
            idsOf(async (page) => {
              const { tokens, nextPageToken } = await calls.call('ListJoinTokens', { page });
              return { items: tokens, next: nextPageToken };
            }),
        }),
      );

export const operationId: Resolve = async (context, options, text) =>
  isUuid(text)
    ? text
    : withAdmin(context, options, 'Approvals', (calls) =>
        fullId(text, {
          what: 'operation',
          list: 'approval list --all',
          ids: () =>
            idsOf(async (page) => {
              const { operations, nextPageToken } = await calls.call('ListOperations', {
                page,
                pendingOnly: false,
              });
              return { items: operations, next: nextPageToken };
            }),
        }),
      );

export const delegationId: Resolve = async (context, options, text) =>
  isUuid(text)
    ? text
    : withAdmin(context, options, 'Delegations', (calls) =>
        fullId(text, {
          what: 'delegation',
          list: 'delegation list',
          ids: () =>
            idsOf(async (page) => {
              const { delegations, nextPageToken } = await calls.call('ListDelegations', {
                page,
                includeRevoked: true,
              });
              return { items: delegations, next: nextPageToken };
            }),
        }),
      );

/** A text that can't be part of a UUID is the name of an entry. */
export const entryId: Resolve = async (context, options, text) =>
  isUuid(text) || !/^…?[0-9a-f-]{6,35}…?$/.test(text)
    ? text
    : withAdmin(context, options, 'Entries', (calls) =>
        fullId(text, {
          what: 'entry',
          list: 'entry list',
          ids: () =>
            idsOf(async (page) => {
              const { entries, nextPageToken } = await calls.call('ListEntries', {
                page,
                filter: { spiffeId: '', parentId: '', selector: '' },
              });
              return { items: entries, next: nextPageToken };
            }),
        }),
      );

export const eabKeyId: Resolve = async (context, options, text) =>
  isUuid(text)
    ? text
    : withAdmin(context, options, 'Acme', (calls) =>
        fullId(text, {
          what: 'EAB key',
          list: 'acme key list',
          ids: () =>
            idsOf(async (page) => {
              const { keys, nextPageToken } = await calls.call('ListEabKeys', {
                page,
                includeEnded: true,
              });
              return { items: keys, next: nextPageToken };
            }),
        }),
      );

export const acmeAccountId: Resolve = async (context, options, text) =>
  isUuid(text)
    ? text
    : withAdmin(context, options, 'Acme', (calls) =>
        fullId(text, {
          what: 'ACME account',
          list: 'acme account list',
          ids: () =>
            idsOf(async (page) => {
              const { accounts, nextPageToken } = await calls.call('ListAccounts', { page });
              return { items: accounts, next: nextPageToken };
            }),
        }),
      );

export const acmeOrderId: Resolve = async (context, options, text) =>
  isUuid(text)
    ? text
    : withAdmin(context, options, 'Acme', (calls) =>
        fullId(text, {
          what: 'ACME order',
          list: 'acme order list',
          ids: () =>
            idsOf(async (page) => {
              const { orders, nextPageToken } = await calls.call('ListOrders', { page });
              return { items: orders, next: nextPageToken };
            }),
        }),
      );

/** A short serial is searched for among this many of the newest certificates. */
const searchedCertificates = 20_000;

export const serialOf: Resolve = async (context, options, text) => {
  const wanted = text.toLowerCase().replaceAll(/[:…]/g, '');
  return wanted.length >= 30
    ? wanted
    : withAdmin(context, options, 'Certificates', (calls) =>
        fullId(wanted, {
          what: `certificate among the newest ${searchedCertificates} with the serial`,
          list: 'certificate list',
          ids: async function* () {
            const newest = everyItem(async (page) => {
              const { certificates, nextPageToken } = await calls.call('ListCertificates', {
                page,
                filter: {},
                order: 'newest',
              });
              return { items: certificates, next: nextPageToken };
            }, searchedCertificates);
            for await (const { serial } of newest) yield serial;
          },
        }),
      );
};

async function* idsOf(
  fetch: Parameters<typeof everyItem<{ readonly id: string }>>[0],
): AsyncGenerator<string> {
  for await (const { id } of everyItem(fetch)) yield id;
}
