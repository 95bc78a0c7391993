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
 * The rows on which dual control rests. Writes go on from a policy or operation only if it is as
 * the log has it (OBJECT_NOT_IN_LOG); reads prove nothing.
 */
export interface ApprovalStore {
  policy(): Promise<StoredPolicy | undefined>;
  /** Compare-and-set on the version (0 for the first), else CONFLICT. */
  putPolicy(
    policy: ApprovalPolicy,
    change: { readonly version: number; readonly by: string; readonly now: number },
    event: AuditEvent,
  ): Promise<StoredPolicy>;
  /**
   * Refuses (RATE_LIMITED) more than so many pending ones of one proposer, or in all, that have not
   * expired at `now`.
   */
  propose(
    operation: PendingOperation,
    limits: { readonly perProposer: number; readonly total: number; readonly now: number },
    event: AuditEvent,
  ): Promise<void>;
  byId(id: string): Promise<PendingOperation>;
  /** Pending and not expired at `now`, of one proposer. */
  openOf(proposer: string, now: number): Promise<readonly PendingOperation[]>;
  /** Newest first. */
  list(filter: { readonly pendingAt?: number }, page: PageRequest): Promise<Page<PendingOperation>>;
  /** Compare-and-set on version and on one of the states, else CONFLICT. */
  step(
    of: {
      readonly id: string;
      readonly version: number;
      readonly from: readonly OperationState[];
      readonly now: number;
    },
    step: OperationStep,
    event: AuditEvent,
  ): Promise<PendingOperation>;
  /** Those in state `executing`. */
  executing(): Promise<readonly PendingOperation[]>;
}

export interface OperationStep {
  readonly state: OperationState;
  readonly approvals?: readonly SubmittedApproval[];
  readonly outcome?: string;
  readonly evidence?: string;
  readonly decidedAt?: number;
  /** The version of the policy that must still be the present one in the transaction. */
  readonly policyVersion?: number;
}
