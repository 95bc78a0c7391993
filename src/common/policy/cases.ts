import { z } from 'zod';
import { fail, ok, PkiError, unwrap, type Result } from '../errors/index.ts';
import { parseInstant } from '../runtime/instant.ts';
import { SpiffeId } from '../spiffe/index.ts';
import { keyTypes } from '../x509/index.ts';
import {
  policyCallers,
  policyKinds,
  policyProfiles,
  statedLater,
  type PolicyFacts,
} from './facts.ts';
import { problemsIn, readYaml, secondsFrom } from './file-text.ts';
import { decide, traceOf, type Policy, type RuleTrace, type Verdict } from './policy.ts';
import { effects } from './rule.ts';

const maximumCases = 5000;
const maximumBytes = 4 * 1024 * 1024;

const text = z.string('it is text').max(512, 'it is too long');
const texts = z.array(text, 'it is a list').max(1000, 'it has more than 1000 items');
const by = <Output>(read: (value: string) => Output) =>
  text.transform((value, { addIssue }) => {
    try {
      return read(value);
    } catch (thrown) {
      addIssue(PkiError.from(thrown).message);
      return z.NEVER;
    }
  });

const requestShape = {
  at: by((value) => {
    const at = parseInstant(value);
    if (at === undefined)
      throw new PkiError('POLICY_INVALID', `${JSON.stringify(value)} is no instant of ISO 8601`);
    return at;
  }).optional(),
  kind: z.enum(policyKinds, `it is one of ${policyKinds.join(', ')}`),
  caller: z.enum(policyCallers, `it is one of ${policyCallers.join(', ')}`).optional(),
  callerName: text.optional(),
  spiffeId: by((value) => unwrap(SpiffeId.parse(value))).optional(),
  dnsNames: texts.optional(),
  ips: texts.optional(),
  audiences: texts.optional(),
  profile: z.enum(policyProfiles, `it is one of ${policyProfiles.join(', ')}`).optional(),
  keyType: z.enum(keyTypes, `it is one of ${keyTypes.join(', ')}`).optional(),
  ttl: z
    .union([z.int(), z.string()], 'it is a duration such as 1h')
    .transform((value, { addIssue }) => {
      const seconds = secondsFrom(value);
      if (seconds !== undefined) return seconds;
      addIssue(`${JSON.stringify(value)} is no duration such as 90s or 1h`);
      return z.NEVER;
    })
    .optional(),
  entry: text.optional(),
  delegation: text.optional(),
  tenant: text.optional(),
  eabKey: text.optional(),
  exchangedBy: text.optional(),
  tokenIssuer: text.optional(),
  tokenSubject: text.optional(),
};

const caseSchema = z.strictObject(
  {
    name: text.min(1, 'it is empty'),
    expect: z.enum(effects, `it is ${effects.join(' or ')}`),
    /** The rule that must decide; empty: no rule matches. */
    rule: text.optional(),
    request: z.strictObject(requestShape, 'it is a mapping of keys to values'),
  },
  'it is a mapping of keys to values',
);
const requestSchema = caseSchema.shape.request;
const casesSchema = z.strictObject(
  {
    cases: z
      .array(caseSchema, 'it is a list')
      .min(1, 'it is empty')
      .max(maximumCases, `there are more than ${maximumCases}`),
  },
  'it is a mapping of keys to values',
);

export interface PolicyCase {
  readonly name: string;
  readonly expect: (typeof effects)[number];
  readonly rule: string | undefined;
  readonly facts: PolicyFacts;
}

/** @param now the time of cases that state none. Fails with POLICY_INVALID and every problem. */
export function readCases(source: string, now: number): Result<readonly PolicyCase[]> {
  const tree = readYaml(source, maximumBytes);
  if (!tree.ok) return tree;
  const parsed = casesSchema.safeParse(tree.value);
  if (!parsed.success)
    return fail(
      'POLICY_INVALID',
      problemsIn(parsed.error, tree.value, {
        cases: [...Object.keys(caseSchema.shape), ...Object.keys(requestShape)],
      }),
      { next: 'Mend what the message names; docs/policy.md has a file of cases.' },
    );
  return ok(
    parsed.data.cases.map(({ name, expect, rule, request }) => ({
      name,
      expect,
      rule,
      facts: factsOf(request, now),
    })),
  );
}

/** One request, as the cases of a file state it. Fails with POLICY_INVALID and every problem. */
export function readRequest(source: string, now: number): Result<PolicyFacts> {
  const tree = readYaml(source, maximumBytes);
  if (!tree.ok) return tree;
  const parsed = requestSchema.safeParse(tree.value);
  if (parsed.success) return ok(factsOf(parsed.data, now));
  const known = Object.fromEntries(Object.keys(requestShape).map((key) => [key, []]));
  return fail('POLICY_INVALID', problemsIn(parsed.error, tree.value, known), {
    next: 'Mend what the message names: the file has the fields of one request alone, "kind" first.',
  });
}

function factsOf(request: z.output<typeof caseSchema>['request'], now: number): PolicyFacts {
  const { at = now, kind, caller = 'agent', callerName = '', spiffeId } = request;
  const isJwt = kind === 'jwt-svid';
  return {
    at,
    kind,
    caller,
    callerName,
    spiffeId,
    dnsNames: isJwt ? undefined : (request.dnsNames ?? []),
    ips: isJwt ? undefined : (request.ips ?? []),
    audiences: isJwt ? (request.audiences ?? []) : undefined,
    profile: isJwt ? undefined : (request.profile ?? 'short-lived'),
    keyType: isJwt ? undefined : (request.keyType ?? 'ec-p256'),
    ttlSeconds: request.ttl,
    entryId: request.entry,
    delegationId: request.delegation,
    ...statedLater({ ...request, eabKeyId: request.eabKey }),
  };
}

export interface CaseOutcome {
  readonly name: string;
  readonly passed: boolean;
  readonly expect: (typeof effects)[number];
  readonly verdict: Verdict;
  /** Of a case that failed: why each rule did or did not match. */
  readonly trace: readonly RuleTrace[];
}

export function runCases(policy: Policy, cases: readonly PolicyCase[]): readonly CaseOutcome[] {
  return cases.map(({ name, expect, rule, facts }) => {
    const verdict = decide(policy, facts);
    const passed =
      verdict.allowed === (expect === 'allow') &&
      (rule === undefined || rule === (verdict.rule ?? ''));
    return { name, passed, expect, verdict, trace: passed ? [] : traceOf(policy, facts) };
  });
}
