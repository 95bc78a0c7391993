export { challengeTypes, type ChallengeType, type OrderIdentifier } from './challenge.ts';
export {
  createValidator,
  type ValidatorDependencies,
  type ValidatorSettings,
} from './create-validator.ts';
export {
  failureTypes,
  invalid,
  type Evidence,
  type FailureType,
  type Judged,
  type ValidationFailure,
} from './outcome.ts';
export type { OwnListener } from './own-listeners.ts';
export type { CaaAsk } from './caa.ts';
export type { ChallengeValidator, ValidationAsk } from './validator.ts';
