export type {
  ApprovalGate,
  Approvals,
  Execute,
  OperationStatus,
  OperationSummary,
  OperationView,
} from './approvals.ts';
export { DualControl } from './dual-control.ts';
export { pendingByKind, type PendingFacts } from './pending.ts';
export { policyMethod } from './policy-request.ts';
export { ApprovalSights, type AdminRelevantFields } from './sights.ts';
