import { PkiError } from '../../common/errors/index.ts';
import { pageOf } from '../messages/common.ts';
import { delegationMessage } from '../messages/views.ts';
import type { OperationsOf } from '../operation.ts';

export const delegationOperations: OperationsOf<'meshca.admin.v1.Delegations'> = {
  CreateDelegation: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller, { delegation }, signal) => {
      if (!delegation) throw new PkiError('INVALID_REQUEST', 'the delegation is missing');
      return delegationMessage(await services.delegations.create(caller, delegation, signal));
    },
  },
  ListDelegations: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page, includeRevoked }, signal) => {
      const { items, next } = await services.delegations.list(
        caller,
        { includeRevoked },
        pageOf(page, signal),
      );
      return { delegations: items.map(delegationMessage), nextPageToken: next ?? '' };
    },
  },
  RevokeDelegation: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id, reason }) =>
      delegationMessage(await services.delegations.revoke(caller, id, reason)),
  },
};
