import { policySha256, type ApprovalPolicy } from '../../common/approval/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { ApprovalPolicy__Output } from '../../common/wire/generated/meshca/admin/v1/ApprovalPolicy.ts';
import type { Operation } from '../../common/wire/generated/meshca/admin/v1/Operation.ts';
import type { OperationDetail } from '../../common/wire/generated/meshca/admin/v1/OperationDetail.ts';
import type { StoredApprovalPolicy } from '../../common/wire/generated/meshca/admin/v1/StoredApprovalPolicy.ts';
import type { StoredPolicy } from '../../domain/index.ts';
import type { OperationSummary, OperationView } from '../../services/approvals/index.ts';

export function approvalPolicyOf(policy: ApprovalPolicy__Output | null): ApprovalPolicy {
  if (policy === null) throw new PkiError('INVALID_REQUEST', 'the policy is missing');
  const { enabled, required, lifeSeconds, approvers } = policy;
  return {
    enabled,
    required,
    lifeSeconds,
    approvers: approvers.map(({ name, publicKey, identities, notBefore, notAfter }) => ({
      name,
      publicKey,
      identities,
      notBefore,
      notAfter,
    })),
  };
}

export const storedPolicyMessage = ({
  policy,
  version,
  updatedAt,
  updatedBy,
}: StoredPolicy): StoredApprovalPolicy => ({
  policy: {
    ...policy,
    approvers: policy.approvers.map((approver) => ({
      ...approver,
      identities: [...approver.identities],
    })),
  },
  version,
  sha256: policySha256(policy, version),
  updatedAt,
  updatedBy,
});

export const operationMessage = ({ operation, status, sha256 }: OperationSummary): Operation => ({
  id: operation.id,
  status,
  method: operation.method,
  proposer: operation.proposer,
  createdAt: operation.createdAt,
  expiresAt: operation.expiresAt,
  decidedAt: operation.decidedAt,
  sha256,
  outcome: operation.outcome,
  signatures: operation.approvals.length,
});

export const operationDetail = (
  view: OperationView,
  explanation: readonly string[],
): OperationDetail => ({
  operation: operationMessage(view),
  bytes: view.operation.bytes,
  line: view.line,
  required: view.required,
  missing: [...view.missing],
  explanation: [...explanation],
  evidence: view.evidence ?? '',
  approvals: view.approvals.map(
    ({ approver, fingerprint, publicKey, signature, counter, userVerified }) => ({
      approver,
      fingerprint,
      publicKey,
      signature,
      counter: counter ?? 0,
      userVerified: userVerified ?? false,
    }),
  ),
});
