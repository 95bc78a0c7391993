import {
  checkPolicy,
  policySha256,
  type ApprovalPolicy,
  type Json,
  type Operation,
} from '../../common/approval/index.ts';
import type { MethodPath } from '../../common/wire/index.ts';
import type { StoredPolicy } from '../../domain/index.ts';

/**
 * The call that puts a policy in force. It is the only call that a policy may decide on before it
 * is in force.
 */
export const policyMethod: MethodPath = '/meshca.admin.v1.Approvals/PutApprovalPolicy';

/** The policy that decides on this operation. Undefined if no policy can decide any more. */
export function decidingPolicy(
  operation: Pick<Operation, 'method' | 'request' | 'policyVersion' | 'policySha256'>,
  stored: StoredPolicy,
): ApprovalPolicy | undefined {
  const policy = stored.policy.enabled
    ? stored.policy
    : operation.method === policyMethod
      ? policyInRequest(operation.request)
      : undefined;
  const decides =
    policy?.enabled === true &&
    operation.policyVersion === stored.version &&
    operation.policySha256 === policySha256(policy, stored.version);
  return decides ? policy : undefined;
}

/** The policy in a request that puts one. Undefined if it is invalid. */
function policyInRequest(request: Json): ApprovalPolicy | undefined {
  const stated = (request as { policy?: ApprovalPolicy }).policy;
  if (stated === undefined || stated === null || !Array.isArray(stated.approvers)) return undefined;
  const { enabled, required, lifeSeconds, approvers } = stated;
  const checked = checkPolicy({
    enabled,
    required,
    lifeSeconds,
    approvers: approvers.map(({ name, publicKey, identities, notBefore, notAfter }) => ({
      name,
      publicKey,
      identities,
      notBefore,
      notAfter,
    })),
  });
  return checked.ok ? checked.value : undefined;
}
