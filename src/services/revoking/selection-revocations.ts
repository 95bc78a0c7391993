import type { CertificateRecord, CertificateSelection } from '../../domain/index.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface SelectionRequest {
  readonly selection: CertificateSelection;
  /** One of `revocationReasons`; empty: unspecified. */
  readonly reason: string;
  /** Undefined: where the reason is keyCompromise. */
  readonly blockKeys?: boolean | undefined;
  /** For `progress`; chosen by the caller, may be empty. */
  readonly actId: string;
}

/** What an act did, or would do. */
export interface SelectionOutcome {
  /** Certificates of the selection that can be revoked. */
  readonly matched: number;
  readonly revoked: number;
  readonly alreadyRevoked: number;
  /** Of `alreadyRevoked`: the reason is keyCompromise from now on. */
  readonly raised: number;
  /** Of `revoked`: on no CRL. */
  readonly unlisted: number;
  /** Of `revoked`: their rows differ from the log, or are gone. Revoked as the log has them. */
  readonly altered: number;
  /** By kind: certificates that are left alone, and what ends them. */
  readonly skipped: ReadonlyMap<string, { readonly count: number; readonly next: string }>;
  /** Keys in the certificates that were revoked, and those of them that were blocked by it. */
  readonly keys: number;
  readonly keysBlocked: number;
  readonly holders: number;
  readonly sample: readonly CertificateRecord[];
}

/** Revokes every certificate of a selection. */
export interface SelectionRevocations {
  /**
   * Counts by the rows and the log what `revoke` would do now. Changes nothing. What is being issued
   * is not waited for, and a log that was changed is refused by `revoke` alone.
   */
  preview(
    caller: OperatorCaller,
    request: SelectionRequest,
    signal?: AbortSignal,
  ): Promise<SelectionOutcome>;
  /** The same by the rows alone, which takes less time: for approvers. */
  estimate(caller: OperatorCaller, request: SelectionRequest): Promise<SelectionOutcome>;
  /**
   * Revokes in parts of at most 500 certificates, each durable, and records the act. `signal` ends
   * it between two parts, with a record of what was done; a repetition does the rest. The rows show
   * most certificates at once. Then the log is read, and what its rows did not show is revoked as
   * the log has it.
   *
   * @throws PkiError INVALID_REQUEST, ROLE_MISSING, CANCELLED; AUDIT_INVALID where records of the
   *   log were changed: what it still has was revoked
   */
  revoke(
    caller: OperatorCaller,
    request: SelectionRequest,
    signal?: AbortSignal,
  ): Promise<SelectionOutcome>;
  /** Of an act that is under way in this process. */
  progress(
    caller: OperatorCaller,
    actId: string,
  ): Promise<{ readonly matched: number; readonly revoked: number } | undefined>;
}
