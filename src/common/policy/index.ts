export {
  delegationOf,
  factsSha256,
  laterFacts,
  policyCallers,
  policyKinds,
  policyProfiles,
  statedLater,
  type LaterFact,
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
  decisionIn,
  issuedKinds,
  unstatedFacts,
  type DecidedFacts,
  type RecordedAct,
  type StatedFacts,
} from './recorded-facts.ts';
export {
  identityOf,
  maximumGroups,
  PolicyReplay,
  type ReplayGroup,
  type ReplayTotals,
} from './replay.ts';
export { IpRange, isIpv4Mapped } from './ip-range.ts';
export type { Condition, Rule } from './rule.ts';
export { nextFreePlace, type QuotaOwner, type QuotaPlace } from './quota.ts';
