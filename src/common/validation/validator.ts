import type { ChallengeType, OrderIdentifier } from './challenge.ts';
import type { CaaAsk } from './caa.ts';
import type { Evidence, Judged } from './outcome.ts';

/** One challenge that an account asked to validate. */
export interface ValidationAsk {
  readonly type: ChallengeType;
  /** Without `*.`. */
  readonly identifier: OrderIdentifier;
  readonly wildcard: boolean;
  readonly token: string;
  /** The token, a dot and the thumbprint of the account's key (RFC 8555 section 8.1). */
  readonly keyAuthorization: string;
  readonly accountUri: string;
}

/** Validates challenges, CAA included. What a validated host answers stays inside. */
export interface ChallengeValidator {
  /** After an abort the answer is a failure. */
  validate(ask: ValidationAsk, signal: AbortSignal): Promise<Judged<Evidence>>;
  /** Looks at the CAA records of a name alone, as every validation of a name does. */
  caa(ask: CaaAsk, signal: AbortSignal): Promise<Judged<Evidence>>;
}
