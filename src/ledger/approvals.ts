import { approvalPolicyId, type PendingOperation, type StoredPolicy } from '../domain/index.ts';
import type { ApprovalStore, Page, PageRequest } from '../store/ports/index.ts';
import type { Objects } from './objects.ts';

const noPolicy: StoredPolicy = {
  version: 0,
  policy: { enabled: false, required: 0, lifeSeconds: 0, approvers: [] },
  updatedAt: 0,
  updatedBy: '',
};

/**
 * The objects on which dual control rests, each as the log vouches for it. A policy or operation
 * that was changed, inserted or removed past the server throws OBJECT_NOT_IN_LOG. So dual control
 * can not be switched off in the database.
 */
export interface LedgerApprovals extends Omit<ApprovalStore, 'policy' | 'list' | 'executing'> {
  policy(): Promise<StoredPolicy>;
  /** Newest first. Operations that the log does not vouch for are marked, not hidden. */
  list(
    filter: { readonly pendingAt?: number },
    page: PageRequest,
  ): Promise<Page<PendingOperation & { readonly altered: boolean }>>;
  /** The operations that were executing at the last stop. Nobody knows how far they came. */
  interrupted(): Promise<readonly PendingOperation[]>;
}

export function ledgerApprovals(rows: ApprovalStore, objects: Objects): LedgerApprovals {
  const proven = (operations: readonly PendingOperation[]): readonly PendingOperation[] =>
    operations.filter((operation) => objects.prove('operation', operation) !== undefined);
  return {
    putPolicy: (policy, change, event, signal) => rows.putPolicy(policy, change, event, signal),
    propose: (operation, limits, event, signal) => rows.propose(operation, limits, event, signal),
    step: (of, step, event, signal) => rows.step(of, step, event, signal),
    policy: async () => {
      const policy = await rows.policy();
      // Checks an absent row too. Otherwise its deletion would end dual control.
      objects.requireRow('approval-policy', approvalPolicyId, policy);
      return policy ?? noPolicy;
    },
    byId: async (id, signal) => objects.require('operation', await rows.byId(id, signal)),
    openOf: async (proposer, now) => proven(await rows.openOf(proposer, now)),
    interrupted: async () => proven(await rows.executing()),
    list: async (filter, page) => {
      const { items, next } = await rows.list(filter, page);
      return {
        items: items.map((operation) => ({
          ...operation,
          altered: objects.prove('operation', operation) === undefined,
        })),
        next,
      };
    },
  };
}
