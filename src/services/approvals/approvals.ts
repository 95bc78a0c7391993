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

/** What an operation is at this moment; beside the stored states: */
export type OperationStatus =
  | PendingOperation['state']
  /** Its time is over. */
  | 'expired'
  /** The policy or the database's epoch has changed since it was proposed. */
  | 'void'
  /** The row is not as the log has it. */
  | 'altered';

export interface OperationSummary {
  readonly operation: PendingOperation;
  readonly status: OperationStatus;
  readonly sha256: string;
}

export interface OperationView extends OperationSummary {
  readonly stated: Operation;
  /** What an approver signs. */
  readonly line: string;
  readonly approvals: readonly CountedApproval[];
  readonly required: number;
  /** Approvers whose signature would still count. */
  readonly missing: readonly string[];
  /** For offline checks; absent before the decision. */
  readonly evidence: string | undefined;
}

/** Runs the call itself, as if its caller had just been admitted. */
export type Execute = (method: string, request: Json, caller: OperatorCaller) => Promise<Json>;

export interface Approvals {
  /** Takes approval.read. */
  list(
    caller: OperatorCaller,
    filter: { readonly pendingOnly: boolean },
    page: PageRequest,
  ): Promise<Page<OperationSummary>>;
  get(caller: OperatorCaller, id: string): Promise<OperationView>;
  /**
   * Adds a signature, whoever carries it (approval.submit). The one that makes k executes the
   * operation, once, before the answer. Throws SSH_SIGNATURE_INVALID, APPROVAL_NOT_COUNTED,
   * APPROVAL_NOT_OPEN.
   */
  submit(caller: OperatorCaller, id: string, signature: string): Promise<OperationView>;
  /** By its proposer, or with every right. */
  withdraw(caller: OperatorCaller, id: string, reason: string): Promise<OperationSummary>;
  /**
   * The answer of an executed operation: to its proposer alone, once, within an hour; it may hold a
   * secret, so it is not stored.
   */
  takeResult(
    caller: OperatorCaller,
    id: string,
  ): Promise<{ readonly method: string; readonly response: Json }>;
  policy(caller: OperatorCaller): Promise<StoredPolicy>;
  /** Only what the gate let through comes here. `version`: the present one. */
  putPolicy(caller: OperatorCaller, policy: ApprovalPolicy, version: number): Promise<StoredPolicy>;
}

/** The half that the table of operations and the start use. */
export interface ApprovalGate {
  inForce(): Promise<StoredPolicy>;
  /** Records the call as a pending operation and gives the error that tells so (APPROVAL_REQUIRED). */
  hold(caller: OperatorCaller, call: HeldCall): Promise<Error>;
  connect(execute: Execute): void;
  /** At start: what was executing when the server last stopped is not executed again. */
  recover(): Promise<void>;
}
