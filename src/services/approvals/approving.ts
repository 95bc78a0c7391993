import {
  countApprovals,
  evidenceText,
  judgeApproval,
  operationSha256,
  type ApprovalPolicy,
  type Operation,
} from '../../common/approval/index.ts';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { AuditValue, PendingOperation } from '../../domain/index.ts';

export interface JudgedApproval {
  /** Whether this signature reaches the number of approvers that the policy requires. */
  readonly decides: boolean;
  /** Evidence for offline checks. */
  readonly evidence: string;
  readonly auditKind: 'approval.given' | 'approval.decided';
  readonly auditDetail: Readonly<Record<string, AuditValue>>;
}

/**
 * Judges one more signature on an operation.
 *
 * @throws PkiError SSH_SIGNATURE_INVALID; APPROVAL_NOT_COUNTED, also for an approver who has
 *   already approved
 */
export function judgeAdded(
  policy: ApprovalPolicy,
  { operation, stated }: { readonly operation: PendingOperation; readonly stated: Operation },
  signature: string,
  now: number,
): JudgedApproval {
  const { id, bytes } = operation;
  const proposed = { bytes, stated };
  const { approver, fingerprint } = unwrap(judgeApproval(policy, proposed, signature, now));
  const earlier = operation.approvals.map((approval) => approval.signature);
  const before = countApprovals(policy, proposed, earlier, now);
  if (before.counted.some((approval) => approval.approver === approver))
    throw new PkiError('APPROVAL_NOT_COUNTED', `${approver} has already approved ${id}`);
  const { counted, enough } = countApprovals(policy, proposed, [...earlier, signature], now);
  const evidence = evidenceText({
    operation: bytes,
    policy,
    signatures: counted.map((approval) => approval.signature),
    decidedAt: now,
  });
  const detail = { approver, fingerprint, operationSha256: operationSha256(bytes) };
  return {
    decides: enough,
    evidence,
    auditKind: enough ? 'approval.decided' : 'approval.given',
    auditDetail: enough
      ? {
          ...detail,
          approvers: counted.map((approval) => approval.approver),
          publicKeys: counted.map(({ publicKey }) => publicKey),
          evidence,
        }
      : { ...detail, signature },
  };
}
