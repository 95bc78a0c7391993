import { canonicalJson } from '../../common/approval/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { ApprovalsHandlers } from '../../common/wire/generated/meshca/admin/v1/Approvals.ts';
import type { Services } from '../../services/contract.ts';
import { pageOf } from '../convert/common.ts';
import {
  approvalPolicyOf,
  operationDetail,
  operationMessage,
  storedPolicyMessage,
} from '../convert/approvals.ts';
import { explain } from '../explain.ts';
import type { Guard } from '../guard.ts';
import { operatorOf, unary } from './unary.ts';

export function approvalsHandlers(
  guard: Guard,
  services: Services,
  clock: Clock,
): ApprovalsHandlers {
  const { approvals } = services;
  return {
    ListOperations: unary(guard, async (context, { page, pendingOnly }) => {
      const found = await approvals.list(operatorOf(context), { pendingOnly }, pageOf(page));
      return { operations: found.items.map(operationMessage), nextPageToken: found.next ?? '' };
    }),
    GetOperation: unary(guard, async (context, { id }) => {
      const caller = operatorOf(context);
      const view = await approvals.get(caller, id);
      return operationDetail(
        view,
        view.status === 'pending' ? await explain(view.stated, services, caller, clock.now()) : [],
      );
    }),
    SubmitApproval: unary(guard, async (context, { id, signature }) =>
      operationDetail(await approvals.submit(operatorOf(context), id, signature), []),
    ),
    WithdrawOperation: unary(guard, async (context, { id, reason }) =>
      operationMessage(await approvals.withdraw(operatorOf(context), id, reason)),
    ),
    TakeResult: unary(guard, async (context, { id }) => {
      const { method, response } = await approvals.takeResult(operatorOf(context), id);
      return { method, responseJson: canonicalJson(response) };
    }),
    GetApprovalPolicy: unary(guard, async (context) =>
      storedPolicyMessage(await approvals.policy(operatorOf(context))),
    ),
    PutApprovalPolicy: unary(guard, async (context, { policy, version }) =>
      storedPolicyMessage(
        await approvals.putPolicy(operatorOf(context), approvalPolicyOf(policy), version),
      ),
    ),
  };
}
