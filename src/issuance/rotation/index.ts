export {
  cancelOperation,
  openOperation,
  rotationEvent,
  type ActionDependencies,
  type OperationAsk,
} from './actions.ts';
export { ClockGuard, type Boot } from './clock-guard.ts';
export {
  RotationController,
  type ControllerDependencies,
  type RotationState,
} from './controller.ts';
export { HeldSets } from './held-sets.ts';
export { observe, rootOf, type Observation } from './observer.ts';
