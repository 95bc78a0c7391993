import { fail, ok, type Result } from '../errors/index.ts';
import {
  parseSshPublicKey,
  parseSshSignature,
  verifySshSignature,
} from '../ssh-signature/index.ts';
import { approvalLine, approvalNamespace, operationSha256, type Operation } from './operation.ts';
import { policySha256, type ApprovalPolicy, type Approver } from './policy.ts';

export interface CountedApproval {
  readonly approver: string;
  readonly fingerprint: string;
  readonly publicKey: string;
  /** Armored. */
  readonly signature: string;
  /** For security keys. */
  readonly counter?: number;
  readonly userVerified?: boolean;
}

/** An operation, and the bytes that state it. */
export interface ProposedOperation {
  readonly bytes: Buffer;
  readonly stated: Operation;
}

/**
 * Judges one signature: it must be by an approver of the policy, valid at `now`, not by the
 * proposer, and over exactly this operation.
 */
export function judgeApproval(
  policy: ApprovalPolicy,
  { bytes, stated: operation }: ProposedOperation,
  signature: string,
  now: number,
): Result<CountedApproval> {
  const parsed = parseSshSignature(signature);
  if (!parsed.ok) return parsed;
  // the signature first, since only holders of a key may learn who is an approver
  const verified = verifySshSignature(
    parsed.value,
    Buffer.from(approvalLine(operation, operationSha256(bytes))),
    approvalNamespace,
  );
  if (!verified.ok) return verified;
  const { publicKey, securityKey } = verified.value;
  const approver = policy.approvers.find((each) => holds(each, publicKey.blob));
  if (approver === undefined)
    return notCounted(
      `the key ${publicKey.fingerprint} is no approver's in version ${operation.policyVersion} of the policy`,
    );
  if (now < approver.notBefore || (approver.notAfter !== 0 && now > approver.notAfter))
    return notCounted(`the approver ${approver.name} is not valid now`);
  if (approver.identities.includes(operation.proposer.actor))
    return notCounted(
      `${approver.name} proposed the operation himself, as ${operation.proposer.actor}`,
    );
  return ok({
    approver: approver.name,
    fingerprint: publicKey.fingerprint,
    publicKey: approver.publicKey,
    signature,
    ...(securityKey === undefined ? {} : securityKey),
  });
}

/** The approvals that count together: each approver once. */
export function countApprovals(
  policy: ApprovalPolicy,
  proposed: ProposedOperation,
  signatures: readonly string[],
  now: number,
): { readonly counted: readonly CountedApproval[]; readonly enough: boolean } {
  const counted = new Map<string, CountedApproval>();
  for (const signature of signatures) {
    const judged = judgeApproval(policy, proposed, signature, now);
    if (judged.ok && !counted.has(judged.value.approver))
      counted.set(judged.value.approver, judged.value);
  }
  const distinct = new Set([...counted.values()].map(({ fingerprint }) => fingerprint)).size;
  const { policyVersion, policySha256: stated } = proposed.stated;
  const deciding = policySha256(policy, policyVersion) === stated;
  return {
    counted: [...counted.values()],
    enough: policy.enabled && deciding && policy.required >= 2 && distinct >= policy.required,
  };
}

const holds = (approver: Approver, blob: Buffer): boolean => {
  const key = parseSshPublicKey(approver.publicKey);
  return key.ok && key.value.blob.equals(blob);
};

const notCounted = (reason: string): Result<never> => fail('APPROVAL_NOT_COUNTED', reason);
