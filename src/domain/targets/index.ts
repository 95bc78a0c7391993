export {
  newestSet,
  servedSet,
  targetStates,
  type ReportedTarget,
  type RolloutPart,
  type TargetRollout,
  type TargetSet,
  type TargetState,
} from './target.ts';
export {
  awaySeconds,
  decideRollout,
  refusedTurnSeconds,
  silentTurnSeconds,
  turnKey,
  type FailedTurn,
  type GivenTurn,
  type RolloutDecision,
  type RolloutHold,
  type RolloutInput,
  type RolloutMember,
  type Round,
} from './rollout.ts';
