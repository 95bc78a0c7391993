import {
  decide,
  delegationOf,
  traceOf,
  type Condition,
  type PolicyFacts,
  type RuleTrace,
} from '../common/policy/index.ts';
import { duration, instant } from './output.ts';
import type { NamedPolicy } from './policy-source.ts';

/** What became of a rule. */
export function outcomeOf({ mismatch, failure }: Omit<RuleTrace, 'rule' | 'effect'>): string {
  if (failure !== undefined) return `could not be decided: ${failure}`;
  return mismatch === undefined ? 'matches' : `does not match: ${mismatch}`;
}

const listed = (names: readonly string[] | undefined): string =>
  names === undefined || names.length === 0 ? 'none' : names.join(', ');
const life = (seconds: number | undefined): string =>
  seconds === undefined ? 'as long as the authorities above allow' : duration(seconds);

/** What the request has, by the condition that looks at it. */
const values: Readonly<Partial<Record<Condition, (facts: PolicyFacts) => string>>> = {
  kinds: ({ kind }) => kind,
  callers: ({ caller }) => caller,
  callerIds: ({ callerName }) => callerName,
  spiffeIds: ({ spiffeId }) => spiffeId?.toString() ?? 'none',
  dnsNames: ({ dnsNames }) => listed(dnsNames),
  wildcardNames: ({ dnsNames }) => listed(dnsNames?.filter((name) => name.startsWith('*.'))),
  ips: ({ ips }) => listed(ips),
  audiences: ({ audiences }) => listed(audiences),
  profiles: ({ profile }) => profile ?? 'none',
  keyTypes: ({ keyType }) => keyType ?? 'none',
  ttl: ({ ttlSeconds }) => life(ttlSeconds),
  entries: ({ entryId }) => entryId ?? 'none',
  delegations: (facts) => delegationOf(facts) ?? 'none',
  tenants: ({ tenant }) => tenant ?? 'none',
  eabKeys: ({ eabKeyId }) => eabKeyId ?? 'none',
  exchangedBy: ({ exchangedBy }) => exchangedBy ?? 'none',
  times: ({ at }) => instant(at),
  validFrom: ({ at }) => instant(at),
  validUntil: ({ at }) => instant(at),
};

export interface ExplainedRule extends RuleTrace {
  /** `matches`, or which condition does not hold, with what the request has. */
  readonly outcome: string;
}

/** Which rule decides, and why each rule does or does not match. */
export function explained(
  { policy }: Pick<NamedPolicy, 'policy'>,
  facts: PolicyFacts,
): {
  readonly allowed: boolean;
  readonly rule: string | undefined;
  readonly rules: readonly ExplainedRule[];
} {
  if (policy === undefined) return { allowed: true, rule: undefined, rules: [] };
  const { allowed, rule } = decide(policy, facts);
  return {
    allowed,
    rule,
    rules: traceOf(policy, facts).map((trace) => {
      const value = trace.mismatch === undefined ? undefined : values[trace.mismatch]?.(facts);
      const has = value === undefined || trace.failure !== undefined ? '' : ` (it has ${value})`;
      return { ...trace, outcome: `${outcomeOf(trace)}${has}` };
    }),
  };
}

export const verdictText = (
  { allowed, rule }: { readonly allowed: boolean; readonly rule: string | undefined },
  by: string,
): string => {
  const effect = allowed ? 'allowed' : 'denied';
  return `${effect} by ${by}${rule === undefined ? (allowed ? '' : ', no rule of which allows it') : `, rule ${rule}`}`;
};

/** The facts of a request as rows. */
export const factRows = (facts: PolicyFacts): readonly (readonly [string, string])[] => {
  const rows: (readonly [string, string | undefined])[] = [
    ['kind', facts.kind],
    ['caller', `${facts.callerName === '' ? '' : `${facts.callerName} `}(${facts.caller})`],
    ['identity', facts.spiffeId?.toString()],
    ['DNS names', facts.dnsNames?.join(', ')],
    ['IPs', facts.ips?.join(', ')],
    ['audiences', facts.audiences?.join(', ')],
    ['profile', facts.profile],
    ['key', facts.keyType],
    ['life', life(facts.ttlSeconds)],
    ['entry', facts.entryId],
    ['delegation', delegationOf(facts)],
    ['tenant', facts.tenant],
    ['EAB key', facts.eabKeyId],
    ['exchanged by', facts.exchangedBy],
    ['token issuer', facts.tokenIssuer],
    ['token subject', facts.tokenSubject],
    ['time', instant(facts.at)],
  ];
  return rows.filter(
    (row): row is readonly [string, string] => row[1] !== undefined && row[1] !== '',
  );
};
