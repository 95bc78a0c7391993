export {
  acmeAccountStatuses,
  type AcmeAccount,
  type AcmeAccountStatus,
  type EabKey,
  type EabKeySource,
} from './account.ts';
export {
  corroborationOf,
  perspectiveResults,
  type Corroboration,
  type Perspective,
  type PerspectiveResult,
  type Quorum,
} from './corroboration.ts';
export {
  checkEabKey,
  eabKeyEnd,
  hasAllPatterns,
  type EabKeyDraft,
  type EabKeyInput,
  type EabKeyLimits,
} from './eab-key-rules.ts';
export {
  afterResponse,
  afterShortfall,
  afterVerdict,
  authorizationAt,
  caaAt,
  orderIdentifiers,
  orderStatusAt,
  orderStatuses,
  type AcmeOrder,
  type Authorization,
  type AuthorizationStatus,
  type Challenge,
  type ChallengeStatus,
  type ChallengeVerdict,
  type OrderStatus,
  type StoredProblem,
} from './order.ts';
export type { AcmeAccountRight, AcmeOrderRight, EabKeyRight, TenantRight } from './rights.ts';
export { challengeFailed, failureCounter } from './pause.ts';
export { renewalWindow, shortestRenewalLife, type RenewalWindow } from './renewal.ts';
export {
  challengeTypes,
  type ChallengeType,
  type OrderIdentifier,
} from '../../common/validation/challenge.ts';
