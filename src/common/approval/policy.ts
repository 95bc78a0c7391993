import { createHash } from 'node:crypto';
import { fail, ok, type Result } from '../errors/index.ts';
import { parseSshPublicKey, sshKeyText } from '../ssh-signature/index.ts';
import { canonicalJson } from './canonical-json.ts';

/** A person whose signature counts. Only the public key is known here. */
export interface Approver {
  readonly name: string;
  /** As in a .pub file, without comment. */
  readonly publicKey: string;
  /**
   * SPIFFE IDs, or `uid:N`, under which the approver may propose. An approval of one's own proposal
   * does not count.
   */
  readonly identities: readonly string[];
  /** Unix seconds; 0: open. `notAfter` is the last second. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface ApprovalPolicy {
  readonly enabled: boolean;
  /** k of n. */
  readonly required: number;
  /** How long a proposed operation may wait. */
  readonly lifeSeconds: number;
  readonly approvers: readonly Approver[];
}

const defaultLifeSeconds = 86_400;
/**
 * With one required approval, a person could propose on the local socket, which does not identify
 * persons, and approve with their own key.
 */
const minimumRequired = 2;
const maximumApprovers = 50;
const maximumIdentities = 16;
const minimumLifeSeconds = 300;
const maximumLifeSeconds = 14 * 86_400;
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;
const identityPattern = /^(?:spiffe:\/\/[a-z0-9._-]{1,255}(?:\/[A-Za-z0-9._-]+)+|uid:[0-9]{1,10})$/;

/**
 * A policy in its one form: approvers by name, keys without comments. Fails with
 * APPROVAL_POLICY_INVALID or SSH_KEY_INVALID.
 */
export function checkPolicy(input: ApprovalPolicy): Result<ApprovalPolicy> {
  const { approvers, required, enabled } = input;
  const lifeSeconds = input.lifeSeconds === 0 ? defaultLifeSeconds : input.lifeSeconds;
  const problem = termsProblem({ ...input, lifeSeconds });
  if (problem !== undefined) return invalid(problem);
  const checked: Approver[] = [];
  const owners = new Map<string, string>();
  for (const each of approvers) {
    const approver = checkApprover(each);
    if (!approver.ok) return approver;
    const twice = claim(owners, approver.value);
    if (twice !== undefined) return invalid(twice);
    checked.push(approver.value.approver);
  }
  return ok({
    enabled,
    required,
    lifeSeconds,
    approvers: checked.sort((a, b) => (a.name < b.name ? -1 : 1)),
  });
}

/** The problem of a policy apart from its approvers. */
function termsProblem({
  approvers,
  required,
  enabled,
  lifeSeconds,
}: ApprovalPolicy): string | undefined {
  if (approvers.length > maximumApprovers)
    return `${approvers.length} approvers are more than ${maximumApprovers}`;
  const decidable =
    Number.isSafeInteger(required) && required >= minimumRequired && required <= approvers.length;
  if (enabled && !decidable)
    return (
      `${required} of ${approvers.length} approvers: it takes at least ${minimumRequired}, ` +
      'and no more than there are'
    );
  const bearable =
    Number.isSafeInteger(lifeSeconds) &&
    lifeSeconds >= minimumLifeSeconds &&
    lifeSeconds <= maximumLifeSeconds;
  return bearable
    ? undefined
    : `an operation may wait ${minimumLifeSeconds} to ${maximumLifeSeconds} s, not ${lifeSeconds}`;
}

interface CheckedApprover {
  readonly approver: Approver;
  readonly fingerprint: string;
}

function checkApprover(stated: Approver): Result<CheckedApprover> {
  const { name, identities, notBefore, notAfter } = stated;
  if (!namePattern.test(name))
    return invalid(
      `the name ${JSON.stringify(name.slice(0, 80))} is not of [A-Za-z0-9._@-], up to 64`,
    );
  const key = parseSshPublicKey(stated.publicKey);
  if (!key.ok) return fail(key.error.code, `approver ${name}: ${key.error.message}`);
  const wrong = identities.find((identity) => !identityPattern.test(identity));
  if (wrong !== undefined)
    return invalid(
      `approver ${name}: ${JSON.stringify(wrong.slice(0, 120))} is neither a SPIFFE ID nor uid:N`,
    );
  if (identities.length > maximumIdentities)
    return invalid(`approver ${name}: more than ${maximumIdentities} identities`);
  if (
    ![notBefore, notAfter].every((at) => Number.isSafeInteger(at) && at >= 0) ||
    (notAfter !== 0 && notAfter < notBefore)
  )
    return invalid(`approver ${name}: the validity ends before it begins`);
  const approver = {
    name,
    publicKey: sshKeyText(key.value),
    identities: [...new Set(identities)].sort(),
    notBefore,
    notAfter,
  };
  return ok({ approver, fingerprint: key.value.fingerprint });
}

/** Claims name, key and identities, since one person under two names would count twice. */
function claim(
  owners: Map<string, string>,
  { approver: { name, identities }, fingerprint }: CheckedApprover,
): string | undefined {
  for (const own of [
    `name ${name.toLowerCase()}`,
    `key ${fingerprint}`,
    ...identities.map((identity) => `identity ${identity}`),
  ]) {
    const owner = owners.get(own);
    if (owner !== undefined) return `the ${own} stands twice, for ${owner} and ${name}`;
    owners.set(own, name);
  }
  return undefined;
}

/** The text whose digest is in an operation. */
export const policyText = (policy: ApprovalPolicy, version: number): string =>
  canonicalJson({ ...policy, version });
export const policySha256 = (policy: ApprovalPolicy, version: number): string =>
  createHash('sha256')
    .update('meshca-approval-policy-v1\n')
    .update(policyText(policy, version))
    .digest('hex');

const invalid = (reason: string): Result<never> => fail('APPROVAL_POLICY_INVALID', reason);
