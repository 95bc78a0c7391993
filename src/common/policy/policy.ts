import { createHash } from 'node:crypto';
import type { PolicyFacts } from './facts.ts';
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
}

/**
 * A deny that matches wins, else one allow must match. Pure; throws nothing, whatever the facts.
 */
export function decide({ rules }: Policy, facts: PolicyFacts): Verdict {
  let allowing: Rule | undefined;
  for (const rule of rules) {
    if (rule.effect === 'allow' && allowing !== undefined) continue;
    if (mismatch(rule, facts) !== undefined) continue;
    if (rule.effect === 'deny') return denied(rule);
    allowing = rule;
  }
  return allowing === undefined
    ? { allowed: false, rule: undefined, reason: 'no rule of the policy allows this request' }
    : { allowed: true, rule: allowing.name, reason: '' };
}

const denied = ({ name, message }: Rule): Verdict => ({
  allowed: false,
  rule: name,
  reason: `the rule ${name} of the policy denies it${message === '' ? '' : `: ${message}`}`,
});

/** What became of each rule, for a person who asks why. */
export interface RuleTrace {
  readonly rule: string;
  readonly effect: Rule['effect'];
  /** The first condition that does not hold; undefined: the rule matches. */
  readonly mismatch: Condition | undefined;
}

export const traceOf = ({ rules }: Policy, facts: PolicyFacts): readonly RuleTrace[] =>
  rules.map((rule) => ({ rule: rule.name, effect: rule.effect, mismatch: mismatch(rule, facts) }));
