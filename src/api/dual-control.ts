import { checkPolicy, type ApprovalPolicy } from '../common/approval/index.ts';
import { PkiError, unwrap } from '../common/errors/index.ts';
import type { PutApprovalPolicyRequest__Output } from '../common/wire/generated/meshca/admin/v1/PutApprovalPolicyRequest.ts';
import { requestToJson } from '../common/wire/index.ts';
import { policyMethod } from '../services/approvals/index.ts';
import type { Caller } from '../services/callers/caller.ts';
import type { Services } from '../services/services.ts';
import { approvalPolicyOf } from './messages/approvals.ts';
import type { Row } from './row.ts';

/** A call before it runs. */
export interface PassingCall {
  readonly caller: Caller;
  readonly request: object;
  /** If it is aborted before the operation is being recorded, nothing is recorded (CANCELLED). */
  readonly signal: AbortSignal;
}

/**
 * Resolves for a call that may run. A call that must wait for approval is recorded as a pending
 * operation.
 *
 * @throws PkiError APPROVAL_REQUIRED for a call that must wait
 */
export async function passDualControl(
  { gate, sights }: Pick<Services, 'gate' | 'sights'>,
  { path, dualControl }: Row,
  { caller, request, signal }: PassingCall,
): Promise<void> {
  if (dualControl === 'never' || (caller.class !== 'local' && caller.class !== 'admin')) return;
  const { policy, version } = await gate.inForce();
  let deciding: ApprovalPolicy | undefined;
  if (!policy.enabled) {
    if (path !== policyMethod) return;
    deciding = policyToBe(request as PutApprovalPolicyRequest__Output, version);
    if (deciding === undefined) return;
  } else if (dualControl !== 'always' && !(await dualControl.matters(request, sights))) return;
  const held = { method: path, request: requestToJson(path, request), deciding };
  throw await gate.hold(caller, held, signal);
}

/**
 * The policy in a request that turns dual control on. Its own approvers decide on it, which proves
 * that their keys work.
 */
function policyToBe(
  { policy, version }: PutApprovalPolicyRequest__Output,
  present: number,
): ApprovalPolicy | undefined {
  const stated = approvalPolicyOf(policy);
  if (!stated.enabled) return undefined;
  if (version !== present)
    throw new PkiError('CONFLICT', `the approval policy is at version ${present}, not ${version}`);
  return unwrap(checkPolicy(stated));
}
