export type { ActionDependencies } from './actions.ts';
export {
  cancelOperation,
  openOperation,
  rotationEvent,
  type OperationAsk,
} from './operations.ts';
export { ClockGuard, type Boot } from './clock-guard.ts';
export {
  RotationController,
  type ControllerDependencies,
  type RotationState,
} from './controller.ts';
export { HeldSets } from './held-sets.ts';
export { belowOf, observe, rootOf, type Observation } from './observer.ts';
