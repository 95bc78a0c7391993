import { canonicalJson, type ApprovalPolicy } from '../../common/approval/index.ts';
import {
  approvalPolicyOf,
  operationDetail,
  operationMessage,
  storedPolicyMessage,
} from '../messages/approvals.ts';
import { pageOf } from '../messages/common.ts';
import type { OperationsOf } from '../operation.ts';
import { diff, type Fields } from '../preview/diff.ts';

export const approvalOperations: OperationsOf<'meshca.admin.v1.Approvals'> = {
  ListOperations: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page, pendingOnly }, signal) => {
      const { items, next } = await services.approvals.list(
        caller,
        { pendingOnly },
        pageOf(page, signal),
      );
      return { operations: items.map(operationMessage), nextPageToken: next ?? '' };
    },
  },
  GetOperation: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services, preview }, caller, { id }, signal) => {
      const view = await services.approvals.get(caller, id, signal);
      return operationDetail(
        view,
        view.status === 'pending' ? await preview(view.stated, caller) : [],
      );
    },
  },
  SubmitApproval: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id, signature }, signal) =>
      operationDetail(await services.approvals.submit(caller, id, signature, signal), []),
  },
  WithdrawOperation: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id, reason }) =>
      operationMessage(await services.approvals.withdraw(caller, id, reason)),
  },
  TakeResult: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { id }, signal) => {
      const { method, response } = await services.approvals.takeResult(caller, id, signal);
      return { method, responseJson: canonicalJson(response) };
    },
  },
  GetApprovalPolicy: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller) =>
      storedPolicyMessage(await services.approvals.policy(caller)),
  },
  PutApprovalPolicy: {
    admits: 'operators',
    dualControl: 'always',
    preview: async ({ services }, caller, { policy }) => {
      const { policy: present, version } = await services.approvals.policy(caller);
      return diff(
        `replace version ${version} of the approval policy`,
        policyFields(present),
        policyFields(approvalPolicyOf(policy)),
      );
    },
    run: async ({ services }, caller, { policy, version }, signal) =>
      storedPolicyMessage(
        await services.approvals.putPolicy(caller, approvalPolicyOf(policy), version, signal),
      ),
  },
};

/** One field per approver, so that a changed approver is shown by name. */
const policyFields = ({ enabled, required, lifeSeconds, approvers }: ApprovalPolicy): Fields => ({
  enabled,
  required,
  lifeSeconds,
  ...Object.fromEntries(approvers.map((approver) => [`approver ${approver.name}`, approver])),
});
