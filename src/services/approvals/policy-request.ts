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
 * The one call that a policy may decide on before it is in force: the call that puts it in force.
 */
export const policyMethod: MethodPath = '/meshca.admin.v1.Approvals/PutApprovalPolicy';

/** The policy that decides on this operation; undefined when no policy can any more. */
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

/** The policy that a request puts; undefined when it is not valid. */
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
