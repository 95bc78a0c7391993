import { fail, ok, type Result } from '../errors/index.ts';
import { canonicalJson } from './canonical-json.ts';
import { countApprovals, type CountedApproval } from './decision.ts';
import { operationSha256, readOperation, type Operation } from './operation.ts';
import { checkPolicy, policySha256, type ApprovalPolicy } from './policy.ts';

/**
 * Everything that proves, without the server, that an operation was approved. Part of the audit
 * record of the decision.
 */
export interface Evidence {
  readonly operation: Buffer;
  readonly policy: ApprovalPolicy;
  readonly signatures: readonly string[];
  readonly decidedAt: number;
}

export interface VerifiedEvidence {
  readonly operation: Operation;
  readonly operationSha256: string;
  readonly policySha256: string;
  readonly approvals: readonly CountedApproval[];
  readonly required: number;
  readonly decidedAt: number;
}

const format = 'meshca-approval-evidence-v1';
const auditVersion = 'meshca-audit-v1\n';

export const evidenceText = ({ operation, policy, signatures, decidedAt }: Evidence): string =>
  canonicalJson({ format, operation: operation.toString('base64'), policy, signatures, decidedAt });

/**
 * Checks evidence offline: the text of `evidenceText`, or the canonical bytes of an audit record
 * that contains it. The evidence proves approval by the keys of the policy whose digest it states.
 * Compare this digest with the policy that you know, or pass `expectedPolicySha256`. Fails with
 * APPROVAL_NOT_COUNTED, APPROVAL_NOT_OPEN or APPROVAL_POLICY_INVALID.
 */
export function verifyEvidence(
  text: string,
  expectedPolicySha256?: string,
): Result<VerifiedEvidence> {
  const read = readEvidence(text);
  if (!read.ok) return read;
  const { policy, signatures, decidedAt } = read.value;
  const operation = readOperation(read.value.operation);
  if (!operation.ok) return operation;
  const found = policySha256(policy, operation.value.policyVersion);
  if (found !== operation.value.policySha256)
    return fail(
      'APPROVAL_NOT_COUNTED',
      'the policy in the file is not the one that the operation was proposed under',
    );
  if (expectedPolicySha256 !== undefined && expectedPolicySha256 !== found)
    return fail(
      'APPROVAL_NOT_COUNTED',
      `the operation was decided under the policy ${found}, not ${expectedPolicySha256}`,
    );
  if (decidedAt < operation.value.createdAt || decidedAt >= operation.value.expiresAt)
    return fail(
      'APPROVAL_NOT_COUNTED',
      'it was decided outside of the time that the operation states',
    );
  const { counted, enough } = countApprovals(
    policy,
    { bytes: read.value.operation, stated: operation.value },
    signatures,
    decidedAt,
  );
  if (!enough)
    return fail(
      'APPROVAL_NOT_COUNTED',
      `${counted.length} valid approvals ` +
        `(${counted.map(({ approver }) => approver).join(', ') || 'none'}), ` +
        `${policy.required} are needed`,
    );
  return ok({
    operation: operation.value,
    operationSha256: operationSha256(read.value.operation),
    policySha256: found,
    approvals: counted,
    required: policy.required,
    decidedAt,
  });
}

function readEvidence(text: string): Result<Evidence> {
  try {
    const own = text.startsWith(auditVersion)
      ? (JSON.parse(text.slice(auditVersion.length)) as { detail: { evidence: string } }).detail
          .evidence
      : text;
    const parsed = JSON.parse(own) as {
      format: unknown;
      operation: unknown;
      policy: ApprovalPolicy;
      signatures: unknown;
      decidedAt: unknown;
    };
    if (
      parsed.format === format &&
      typeof parsed.operation === 'string' &&
      Array.isArray(parsed.signatures) &&
      parsed.signatures.every((each) => typeof each === 'string') &&
      Number.isSafeInteger(parsed.decidedAt)
    ) {
      const policy = checkPolicy(parsed.policy);
      if (!policy.ok) return policy;
      return ok({
        operation: Buffer.from(parsed.operation, 'base64'),
        policy: policy.value,
        signatures: parsed.signatures as readonly string[],
        decidedAt: parsed.decidedAt as number,
      });
    }
  } catch {
    // reported below
  }
  return fail('APPROVAL_NOT_COUNTED', 'the file holds no evidence of an approval', {
    next:
      'Give what "meshca approval show ID --json" printed, or the canonical text of the audit ' +
      'record approval.decided.',
  });
}
