import type {
  ApprovalPolicy,
  CountedApproval,
  Json,
  Operation,
} from '../../common/approval/index.ts';
import type { PendingOperation, StoredPolicy } from '../../domain/index.ts';
import type { Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';
import type { HeldCall } from './proposals.ts';

/** The present status of an operation: a stored state, or one of the following. */
export type OperationStatus =
  | PendingOperation['state']
  /** The time for its approval has ended. */
  | 'expired'
  /** The policy or the database's epoch has changed since the proposal. */
  | 'void'
  /** The row differs from what the log vouches for. */
  | 'altered';

export interface OperationSummary {
  readonly operation: PendingOperation;
  readonly status: OperationStatus;
  readonly sha256: string;
}

export interface OperationView extends OperationSummary {
  readonly stated: Operation;
  /** The line that an approver signs. */
  readonly line: string;
  readonly approvals: readonly CountedApproval[];
  readonly required: number;
  /** Approvers whose signature would still count. */
  readonly missing: readonly string[];
  /** The evidence for offline checks. Absent before the decision. */
  readonly evidence: string | undefined;
}

/** Runs the call itself, as if its caller had just been admitted. */
export type Execute = (method: string, request: Json, caller: OperatorCaller) => Promise<Json>;

/**
 * `signal`: aborted when nobody waits for the answer any more. What is not being written by then is
 * not written (CANCELLED). An operation that is decided is executed in any case.
 */
export interface Approvals {
  /** Requires approval.read. */
  list(
    caller: OperatorCaller,
    filter: { readonly pendingOnly: boolean },
    page: PageRequest,
  ): Promise<Page<OperationSummary>>;
  get(caller: OperatorCaller, id: string, signal?: AbortSignal): Promise<OperationView>;
  /**
   * Adds a signature. Its carrier needs approval.submit and may be anybody else than the signer.
   * The k-th signature executes the operation, once, before the answer.
   *
   * @throws PkiError SSH_SIGNATURE_INVALID, APPROVAL_NOT_COUNTED, APPROVAL_NOT_OPEN
   */
  submit(
    caller: OperatorCaller,
    id: string,
    signature: string,
    signal?: AbortSignal,
  ): Promise<OperationView>;
  /**
   * For its proposer, or for a caller with every right. It gives nobody a right, and is done in any
   * case.
   */
  withdraw(caller: OperatorCaller, id: string, reason: string): Promise<OperationSummary>;
  /**
   * The answer of an executed operation: for its proposer only, once, within an hour. It may
   * contain a secret, so that it is not stored. A caller who has gone takes nothing.
   */
  takeResult(
    caller: OperatorCaller,
    id: string,
    signal?: AbortSignal,
  ): Promise<{ readonly method: string; readonly response: Json }>;
  policy(caller: OperatorCaller): Promise<StoredPolicy>;
  /** Called only for requests that passed dual control. `version`: the present version. */
  putPolicy(
    caller: OperatorCaller,
    policy: ApprovalPolicy,
    version: number,
    signal?: AbortSignal,
  ): Promise<StoredPolicy>;
}

/** The part that the table of operations and the start use. */
export interface ApprovalGate {
  inForce(): Promise<StoredPolicy>;
  /**
   * Records the call as a pending operation. Returns the error for the caller (APPROVAL_REQUIRED).
   * If `signal` is aborted before the record is being written, nothing is recorded (CANCELLED).
   */
  hold(caller: OperatorCaller, call: HeldCall, signal?: AbortSignal): Promise<Error>;
  connect(execute: Execute): void;
  /**
   * Called at start. An operation that was executing when the server stopped is not executed again.
   */
  recover(): Promise<void>;
}
