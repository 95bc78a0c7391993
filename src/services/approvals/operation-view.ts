import {
  approvalLine,
  countApprovals,
  operationSha256,
  readOperation,
  verifyEvidence,
  type ApprovalPolicy,
  type CountedApproval,
  type Operation,
} from '../../common/approval/index.ts';
import { unwrap } from '../../common/errors/index.ts';
import type { PendingOperation, StoredPolicy } from '../../domain/index.ts';
import type { OperationStatus, OperationSummary, OperationView } from './approvals.ts';
import { decidingPolicy } from './policy-request.ts';

export const summaryOf = (
  operation: PendingOperation,
  status: OperationStatus,
): OperationSummary => ({ operation, status, sha256: operationSha256(operation.bytes) });

/**
 * An operation with its approvals, counted by the policy that decided it, or by the policy that
 * would decide it now. `stored` is required before the decision.
 */
export function viewOf(
  operation: PendingOperation,
  status: OperationStatus,
  stored: StoredPolicy | undefined,
  now: number,
): OperationView {
  const stated = unwrap(readOperation(operation.bytes));
  const summary = summaryOf(operation, status);
  const base = { ...summary, stated, line: approvalLine(stated, summary.sha256) };
  if (operation.evidence !== '') {
    const { approvals, required } = unwrap(verifyEvidence(operation.evidence));
    return { ...base, approvals, required, missing: [], evidence: operation.evidence };
  }
  const policy = stored === undefined ? undefined : decidingPolicy(stated, stored);
  if (policy === undefined)
    return { ...base, approvals: [], required: 0, missing: [], evidence: undefined };
  const signatures = operation.approvals.map(({ signature }) => signature);
  const { counted } = countApprovals(policy, { bytes: operation.bytes, stated }, signatures, now);
  return {
    ...base,
    approvals: counted,
    required: policy.required,
    missing: status === 'pending' ? missingApprovers(policy, stated, counted, now) : [],
    evidence: undefined,
  };
}

/** Approvers whose signature would still count. */
const missingApprovers = (
  policy: ApprovalPolicy,
  { proposer }: Operation,
  counted: readonly CountedApproval[],
  now: number,
): readonly string[] =>
  policy.approvers
    .filter(
      ({ name, identities, notBefore, notAfter }) =>
        !counted.some(({ approver }) => approver === name) &&
        !identities.includes(proposer.actor) &&
        now >= notBefore &&
        (notAfter === 0 || now <= notAfter),
    )
    .map(({ name }) => name);
