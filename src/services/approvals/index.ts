export type {
  ApprovalGate,
  Approvals,
  Execute,
  OperationStatus,
  OperationSummary,
  OperationView,
} from './contract.ts';
export { DualControl, policyMethod } from './dual-control.ts';
export { ApprovalSights, type EntrySight } from './sights.ts';
export { pendingByKind, type PendingFacts } from './pending.ts';
