export * from './types.ts';
export {
  agentCounts,
  confirmation,
  isConfirmed,
  type Confirmation,
  type ConfirmationInput,
  type Laggard,
} from './confirmation.ts';
export { judgeCanary, type CanaryVerdict, type NodeHandshakes } from './canary.ts';
export { activationEvidence, type EvidenceInput } from './evidence.ts';
export { loggedClock, type ClockStanding, type ClockState } from './clock.ts';
export { hindrance } from './altered.ts';
export { Attempts } from './attempts.ts';
export { decide } from './decide.ts';
export { parentOf, type Decision, type DecisionInput } from './turn.ts';
export { isStandby } from './standby.ts';
export { activationDeadline, unseenSeconds, prepareDue, scheduleProblem } from './schedule.ts';
