import { createHash } from 'node:crypto';
import type { PolicyFacts } from './facts.ts';
import { placeOf, type QuotaPlace } from './quota.ts';
import { mismatch, type Condition, type Rule } from './rule.ts';

/** Of the file of a policy. */
export const policySha256 = (source: string): string =>
  createHash('sha256').update('meshca-policy-v1\n').update(source).digest('hex');

export interface Policy {
  readonly description: string;
  /** In the order of the file. */
  readonly rules: readonly Rule[];
}

export interface Verdict {
  readonly allowed: boolean;
  /** The rule that decided; undefined: none matched. */
  readonly rule: string | undefined;
  /** For the caller; empty if allowed. */
  readonly reason: string;
  /** The expression of the rule could not be decided: why. */
  readonly failure?: string;
  /** Of an allow by a rule with a quota: the place that the request needs. */
  readonly place?: QuotaPlace;
}

/**
 * A deny that matches wins. Else an expression that can not be decided denies. Else one allow must
 * match. Pure; throws nothing, whatever the facts.
 */
export function decide({ rules }: Policy, facts: PolicyFacts): Verdict {
  let allowing: Rule | undefined;
  let failing: Verdict | undefined;
  for (const rule of rules) {
    // so that the order of the rules does not matter, an expression is decided in any case
    if (
      rule.effect === 'allow' &&
      allowing !== undefined &&
      (allowing.quota === undefined || rule.quota !== undefined) &&
      (rule.conditions.when === undefined || failing !== undefined)
    )
      continue;
    const mismatched = mismatch(rule, facts);
    if (!mismatched.ok) failing ??= failed(rule, mismatched.error.message);
    else if (mismatched.value === undefined) {
      if (rule.effect === 'deny') return denied(rule);
      // an allow without a quota comes before those that have one
      if (allowing === undefined || (allowing.quota !== undefined && rule.quota === undefined))
        allowing = rule;
    }
  }
  if (failing !== undefined) return failing;
  if (allowing === undefined)
    return { allowed: false, rule: undefined, reason: 'no rule of the policy allows this request' };
  const { name, quota } = allowing;
  const allowed = { allowed: true, rule: name, reason: '' };
  return quota === undefined ? allowed : { ...allowed, place: placeOf(name, quota, facts) };
}

const denied = ({ name, message }: Rule): Verdict => ({
  allowed: false,
  rule: name,
  reason: `the rule ${name} of the policy denies it${message === '' ? '' : `: ${message}`}`,
});

const failed = ({ name }: Rule, failure: string): Verdict => ({
  allowed: false,
  rule: name,
  reason: `the rule ${name} of the policy could not be decided: ${failure}`,
  failure,
});

/** What became of each rule, for a person who asks why. */
export interface RuleTrace {
  readonly rule: string;
  readonly effect: Rule['effect'];
  /** The first condition that does not hold; undefined: the rule matches. */
  readonly mismatch: Condition | undefined;
  /** The expression of the rule could not be decided: why. */
  readonly failure?: string;
}

export const traceOf = ({ rules }: Policy, facts: PolicyFacts): readonly RuleTrace[] =>
  rules.map((rule) => {
    const mismatched = mismatch(rule, facts);
    const named = { rule: rule.name, effect: rule.effect };
    return mismatched.ok
      ? { ...named, mismatch: mismatched.value }
      : { ...named, mismatch: 'when', failure: mismatched.error.message };
  });
