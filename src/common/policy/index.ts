export {
  factsSha256,
  policyCallers,
  policyKinds,
  type PolicyCaller,
  type PolicyFacts,
  type PolicyKind,
} from './facts.ts';
export { decide, traceOf, type Policy, type RuleTrace, type Verdict } from './policy.ts';
export type { Rule } from './rule.ts';
