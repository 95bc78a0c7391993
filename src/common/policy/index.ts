export {
  factsSha256,
  policyCallers,
  policyKinds,
  policyProfiles,
  type PolicyCaller,
  type PolicyFacts,
  type PolicyKind,
  type PolicyProfile,
} from './facts.ts';
export {
  decide,
  policySha256,
  traceOf,
  type Policy,
  type RuleTrace,
  type Verdict,
} from './policy.ts';
export {
  decidedKinds,
  decisionIn,
  unstatedFacts,
  type DecidedFacts,
  type RecordedAct,
  type StatedFacts,
} from './recorded-facts.ts';
export type { Rule } from './rule.ts';
