import { fail, ok, type Result } from '../../src/common/errors/index.ts';
import { isOneLine } from '../../src/common/runtime/index.ts';
import { parseDnsName } from '../../src/common/spiffe/index.ts';
import type { CaaAsk } from '../../src/common/validation/caa.ts';
import { challengeTypes } from '../../src/common/validation/challenge.ts';
import type { ValidationAsk } from '../../src/common/validation/validator.ts';
import type { VantageTask__Output } from '../../src/common/wire/generated/meshca/issuer/v1/VantageTask.ts';
import { canonicalIp } from '../../src/common/x509/ip-address.ts';

/** A task of which each part has the form that it must have. */
export interface ReadTask {
  readonly what:
    | { readonly kind: 'challenge'; readonly ask: ValidationAsk }
    | { readonly kind: 'caa'; readonly ask: CaaAsk };
  readonly caaIdentities: readonly string[];
  readonly timeoutSeconds: number;
}

const maximumIdentities = 10;

/**
 * Reads a task as a stranger's: what it names goes into URLs, queries and records of this node.
 * INVALID_REQUEST.
 */
export function readTask(task: VantageTask__Output): Result<ReadTask> {
  const problem = problemOf(task);
  if (problem !== undefined) return fail('INVALID_REQUEST', `the task has ${problem}`);
  const { caaIdentities, timeoutSeconds } = task;
  const { identifierType, identifierValue: value, wildcard, accountUri } = task;
  const type = challengeTypes.find((each) => each === task.challenge);
  if (type === undefined) {
    const ask: CaaAsk = { name: value, wildcard, accountUri, method: task.caaMethod };
    return ok({ what: { kind: 'caa', ask }, caaIdentities, timeoutSeconds });
  }
  const { token, keyAuthorization } = task;
  const identifier = { type: identifierType === 'ip' ? 'ip' : 'dns', value } as const;
  const ask: ValidationAsk = {
    ...{ type, identifier, wildcard, token, keyAuthorization, accountUri },
  };
  return ok({ what: { kind: 'challenge', ask }, caaIdentities, timeoutSeconds });
}

function problemOf(task: VantageTask__Output): string | undefined {
  const { challenge, accountUri, caaIdentities, timeoutSeconds } = task;
  if (challenge !== 'caa' && !challengeTypes.some((type) => type === challenge))
    return 'a challenge that this agent does not know';
  const ofName = identifierProblem(task);
  if (ofName !== undefined) return ofName;
  if (challenge === 'caa' ? !isMethod(task.caaMethod) : !isAuthorization(task))
    return challenge === 'caa' ? 'no validation method' : 'no key authorization of its token';
  if (accountUri.length > 512 || !isOneLine(accountUri) || !URL.canParse(accountUri))
    return 'no URL of an account';
  if (
    caaIdentities.length > maximumIdentities ||
    caaIdentities.some((name) => name.length > 253 || !isOneLine(name))
  )
    return 'names of the CA that can not be in a CAA record';
  return timeoutSeconds > 0 ? undefined : 'no time limit';
}

function identifierProblem(task: VantageTask__Output): string | undefined {
  const { challenge, identifierType, identifierValue: value, wildcard } = task;
  if (identifierType === 'dns') return parseDnsName(value).ok ? undefined : 'no DNS name';
  if (identifierType !== 'ip') return 'an identifier of another type than dns and ip';
  if (challenge === 'caa' || wildcard) return 'an address where only a name can be';
  return canonicalIp(value) === value ? undefined : 'no IP address';
}

const isMethod = (text: string): boolean => /^[a-z0-9-]{1,64}$/.test(text);

/** The token is put into a path. Both are base64url (RFC 8555 section 8.1). */
const isAuthorization = ({ token, keyAuthorization }: VantageTask__Output): boolean =>
  /^[A-Za-z0-9_-]{22,128}$/.test(token) &&
  keyAuthorization.startsWith(`${token}.`) &&
  /^[A-Za-z0-9_-]{43}$/.test(keyAuthorization.slice(token.length + 1));
