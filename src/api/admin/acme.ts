import type { EabKey as EabKeyMessage } from '../../common/wire/generated/meshca/admin/v1/EabKey.ts';
import { acmeAccountStatuses, orderStatuses, type EabKey } from '../../domain/index.ts';
import type { EabKeys } from '../../services/services.ts';
import {
  accountMessage,
  eabKeyInput,
  eabKeyMessage,
  eabKeySecretMessage,
  orderMessage,
} from '../messages/acme.ts';
import { oneOf, pageOf } from '../messages/common.ts';
import type { OperationsOf } from '../operation.ts';
import { diff } from '../preview/diff.ts';

export const acmeOperations: OperationsOf<'meshca.admin.v1.Acme'> = {
  CreateEabKey: {
    admits: 'operators',
    dualControl: 'always',
    preview: async (_dependencies, _caller, request) => [
      ...diff(`create an EAB key of the tenant ${request.tenant}`, undefined, {
        ...eabKeyInput(request),
      }),
      request.proof === 'owner'
        ? 'Its holder gets certificates for these names without a challenge.'
        : 'Its holder gets certificates for names whose control a challenge shows.',
    ],
    run: async ({ services }, caller, request, signal) =>
      eabKeySecretMessage(await services.eabKeys.create(caller, eabKeyInput(request), signal)),
  },
  ListEabKeys: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page, tenant, includeEnded }, signal) => {
      const { items, next } = await services.eabKeys.list(
        caller,
        { tenant, includeEnded },
        pageOf(page, signal),
      );
      return { keys: await withEnds(services.eabKeys, items), nextPageToken: next ?? '' };
    },
  },
  GetEabKey: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id }) =>
      withEnd(services.eabKeys, await services.eabKeys.get(caller, id)),
  },
  GetEabKeySecret: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id }) =>
      eabKeySecretMessage(await services.eabKeys.secret(caller, id)),
  },
  RevokeEabKey: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id, reason }) =>
      withEnd(services.eabKeys, await services.eabKeys.revoke(caller, id, reason)),
  },
  ListAccounts: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page, tenant, eabKeyId, status }, signal) => {
      const { items, next } = await services.acmeAccounts.list(
        caller,
        { tenant, eabKeyId, status: oneOf('status', status, ['', ...acmeAccountStatuses], '') },
        pageOf(page, signal),
      );
      return { accounts: items.map(accountMessage), nextPageToken: next ?? '' };
    },
  },
  GetAccount: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id }) =>
      accountMessage(await services.acmeAccounts.get(caller, id)),
  },
  EndAccount: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id, reason }) =>
      accountMessage(await services.acmeAccounts.end(caller, id, reason)),
  },
  ListOrders: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services, clock }, caller, request, signal) => {
      const { tenant, eabKeyId, accountId, name } = request;
      const status = oneOf('status', request.status, ['', ...orderStatuses], '');
      const { items, next } = await services.acmeOrders.list(
        caller,
        { tenant, eabKeyId, accountId, name, status },
        pageOf(request.page, signal),
      );
      const now = clock.now();
      return { orders: items.map((order) => orderMessage(order, now)), nextPageToken: next ?? '' };
    },
  },
  GetOrder: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services, clock }, caller, { id }) =>
      orderMessage(await services.acmeOrders.get(caller, id), clock.now()),
  },
};

const withEnds = async (eabKeys: EabKeys, keys: readonly EabKey[]): Promise<EabKeyMessage[]> => {
  const ends = await eabKeys.ends(keys);
  return keys.map((key, index) => eabKeyMessage(key, ends[index] ?? ''));
};

async function withEnd(eabKeys: EabKeys, key: EabKey): Promise<EabKeyMessage> {
  const [end] = await eabKeys.ends([key]);
  return eabKeyMessage(key, end ?? '');
}
