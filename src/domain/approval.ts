import type { ApprovalPolicy } from '../common/approval/index.ts';

/**
 * `executing` is the point of no return: what is found in it at start is `interrupted`, and never
 * executed again.
 */
export const operationStates = [
  'pending',
  'executing',
  'executed',
  'failed',
  'withdrawn',
  'interrupted',
] as const;
export type OperationState = (typeof operationStates)[number];

/** One signature as it was submitted; who signed is read out of it each time. */
export interface SubmittedApproval {
  readonly signature: string;
  /** Who carried it here, which says nothing about who signed. */
  readonly submittedBy: string;
  readonly submittedAt: number;
}

/** A call that waits for approvals, or waited. All that is approved stands in `bytes`. */
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
  /** Code and message of a failure, the reason of a withdrawal. */
  readonly outcome: string;
  /** `evidenceText` of the decision; empty before. */
  readonly evidence: string;
  readonly decidedAt: number;
  readonly updatedAt: number;
}

/** The one policy of a database; version 0 and disabled before anybody set one. */
export interface StoredPolicy {
  readonly version: number;
  readonly policy: ApprovalPolicy;
  readonly updatedAt: number;
  readonly updatedBy: string;
}
