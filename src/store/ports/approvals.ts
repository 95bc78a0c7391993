import type { ApprovalPolicy } from '../../common/approval/index.ts';
import type {
  AuditEvent,
  OperationState,
  PendingOperation,
  StoredPolicy,
  SubmittedApproval,
} from '../../domain/index.ts';
import type { Page, PageRequest } from './pages.ts';

/**
 * The rows on which dual control rests. A write continues from a policy or operation only if the
 * log vouches for it (else OBJECT_NOT_IN_LOG). Reads prove nothing.
 */
export interface ApprovalStore {
  policy(): Promise<StoredPolicy | undefined>;
  /** Compare-and-set on the version (0 for the first policy), else CONFLICT. */
  putPolicy(
    policy: ApprovalPolicy,
    change: { readonly version: number; readonly by: string; readonly now: number },
    event: AuditEvent,
    signal?: AbortSignal,
  ): Promise<StoredPolicy>;
  /**
   * Refuses with RATE_LIMITED if one proposer, or all together, have too many pending operations
   * that have not expired at `now`.
   */
  propose(
    operation: PendingOperation,
    limits: { readonly perProposer: number; readonly total: number; readonly now: number },
    event: AuditEvent,
    signal?: AbortSignal,
  ): Promise<void>;
  byId(id: string, signal?: AbortSignal): Promise<PendingOperation>;
  /** The pending operations of one proposer that have not expired at `now`. */
  openOf(proposer: string, now: number): Promise<readonly PendingOperation[]>;
  /** Newest first. */
  list(filter: { readonly pendingAt?: number }, page: PageRequest): Promise<Page<PendingOperation>>;
  /** Compare-and-set on the version and on one of the states, else CONFLICT. */
  step(
    of: {
      readonly id: string;
      readonly version: number;
      readonly from: readonly OperationState[];
      readonly now: number;
    },
    step: OperationStep,
    event: AuditEvent,
    signal?: AbortSignal,
  ): Promise<PendingOperation>;
  /** The operations in state `executing`. */
  executing(): Promise<readonly PendingOperation[]>;
}

export interface OperationStep {
  readonly state: OperationState;
  readonly approvals?: readonly SubmittedApproval[];
  readonly outcome?: string;
  readonly evidence?: string;
  readonly decidedAt?: number;
  /** The version of the policy that must be the present one in the transaction. */
  readonly policyVersion?: number;
}
