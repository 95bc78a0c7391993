import { readOperation, type Operation } from '../../common/approval/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { PendingOperation, StoredPolicy } from '../../domain/index.ts';
import type { OperationStatus } from './approvals.ts';
import { decidingPolicy } from './policy-request.ts';

/**
 * The status of an operation, if it follows from the operation alone. Undefined if it depends on
 * the policy and the database's epoch.
 */
export function settledStatus(
  operation: PendingOperation & { readonly altered?: boolean },
  { trustDomainName, now }: { readonly trustDomainName: string; readonly now: number },
): OperationStatus | undefined {
  if (operation.altered === true) return 'altered';
  if (operation.state !== 'pending') return operation.state;
  const stated = readOperation(operation.bytes);
  if (
    !stated.ok ||
    stated.value.id !== operation.id ||
    stated.value.trustDomain !== trustDomainName
  )
    return 'altered';
  return now >= stated.value.expiresAt ? 'expired' : undefined;
}

/** The status of an operation that is not settled. */
export const openStatus = (
  stated: Operation,
  epoch: string,
  stored: StoredPolicy,
): 'pending' | 'void' =>
  stated.epoch === epoch && decidingPolicy(stated, stored) !== undefined ? 'pending' : 'void';

const reasons: Partial<Record<OperationStatus, string>> = {
  expired: 'the time for its approval has ended',
  void: 'the approval policy or the epoch of the database has changed since',
  altered: 'its row differs from the proposal',
  executing: 'it is being executed',
};

export const notOpen = ({ id }: PendingOperation, status: OperationStatus): PkiError =>
  new PkiError(
    'APPROVAL_NOT_OPEN',
    `the operation ${id} can not be approved: ${reasons[status] ?? `it is ${status}`}`,
  );
