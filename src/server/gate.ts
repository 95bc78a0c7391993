import type { MethodDefinition } from '@grpc/proto-loader';
import {
  canonicalJson,
  checkPolicy,
  type ApprovalPolicy,
  type Json,
} from '../common/approval/index.ts';
import { PkiError, unwrap } from '../common/errors/index.ts';
import type { PutApprovalPolicyRequest__Output } from '../common/wire/generated/meshca/admin/v1/PutApprovalPolicyRequest.ts';
import {
  policyMethod,
  type ApprovalGate,
  type ApprovalSights,
} from '../services/approvals/index.ts';
import type { OperatorCaller } from '../services/caller.ts';
import { approvalPolicyOf } from './convert/approvals.ts';
import { guardingOf } from './guarding.ts';

export type AnyMethod = MethodDefinition<object, object>;

/**
 * Dual control as a layer before every handler of administration: a guarded call is recorded and
 * goes no further.
 */
export class Gate {
  readonly #approvals: ApprovalGate;
  readonly #sights: ApprovalSights;

  constructor(approvals: ApprovalGate, sights: ApprovalSights) {
    this.#approvals = approvals;
    this.#sights = sights;
  }

  /**
   * Resolves for a call that may go on; throws APPROVAL_REQUIRED for one that waits from now on.
   */
  async pass(method: AnyMethod, request: object, caller: OperatorCaller): Promise<void> {
    const row = guardingOf(method.path);
    if (row === 'never') return;
    const { policy, version } = await this.#approvals.inForce();
    let deciding: ApprovalPolicy | undefined;
    if (!policy.enabled) {
      if (method.path !== policyMethod) return;
      deciding = switchedOn(request as PutApprovalPolicyRequest__Output, version);
      if (deciding === undefined) return;
    } else if (row !== 'always' && !(await row(request as never, this.#sights))) return;
    throw await this.#approvals.hold(caller, method.path, requestJson(method, request), deciding);
  }
}

/**
 * Those who are to approve from then on approve that first: so it is known that their keys work.
 */
function switchedOn(
  { policy, version }: PutApprovalPolicyRequest__Output,
  present: number,
): ApprovalPolicy | undefined {
  const stated = approvalPolicyOf(policy);
  if (!stated.enabled) return undefined;
  if (version !== present)
    throw new PkiError('CONFLICT', `the approval policy is at version ${present}, not ${version}`);
  return unwrap(checkPolicy(stated));
}

/**
 * The request as JSON from which exactly it can be made again; throws INVALID_REQUEST where it can
 * not.
 */
export function requestJson(method: AnyMethod, request: object): Json {
  const text = canonicalJson(request);
  const json = JSON.parse(text) as Json;
  if (canonicalJson(method.requestDeserialize(method.requestSerialize(json as object))) !== text)
    throw new PkiError(
      'INVALID_REQUEST',
      'the request can not be stated exactly, so it can not be approved',
    );
  return json;
}
