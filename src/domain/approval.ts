import type { ApprovalPolicy } from '../common/approval/index.ts';

/**
 * `executing` is the point of no return. An operation that is in it at a start becomes
 * `interrupted`, and is never executed again.
 */
const operationStates = [
  'pending',
  'executing',
  'executed',
  'failed',
  'withdrawn',
  'interrupted',
] as const;
export type OperationState = (typeof operationStates)[number];

/** One signature as submitted. Its signer is read from it each time. */
export interface SubmittedApproval {
  readonly signature: string;
  /** The caller that submitted it, who need not be the signer. */
  readonly submittedBy: string;
  readonly submittedAt: number;
}

/** A call that waits or waited for approvals. Everything that is approved is in `bytes`. */
export interface PendingOperation {
  readonly id: string;
  readonly version: number;
  /** `operationBytes`. */
  readonly bytes: Buffer;
  readonly method: string;
  readonly proposer: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly state: OperationState;
  readonly approvals: readonly SubmittedApproval[];
  /** Code and message of a failure, or the reason of a withdrawal. */
  readonly outcome: string;
  /** `evidenceText` of the decision; empty before it. */
  readonly evidence: string;
  readonly decidedAt: number;
  readonly updatedAt: number;
}

/** The one policy of a database. Version 0 and disabled until somebody sets one. */
export interface StoredPolicy {
  readonly version: number;
  readonly policy: ApprovalPolicy;
  readonly updatedAt: number;
  readonly updatedBy: string;
}
