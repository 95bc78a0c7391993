/** Types of problems (RFC 8555 section 6.7) that a validation ends with. */
export const failureTypes = [
  'caa',
  'connection',
  'dns',
  'incorrectResponse',
  'rejectedIdentifier',
  'serverInternal',
  'tls',
  'unauthorized',
] as const;
export type FailureType = (typeof failureTypes)[number];

/** Why a validation failed. The detail contains nothing that the validated host sent. */
export interface ValidationFailure {
  readonly type: FailureType;
  readonly detail: string;
  /** As of `Evidence`: what was dialled or asked before it failed. */
  readonly seenAt: readonly string[];
  /** The configuration of this side forbids each place to look at: it says nothing of the host. */
  readonly forbiddenHere?: true;
}

export type Judged<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: ValidationFailure };

export const invalid = (
  type: ValidationFailure['type'],
  detail: string,
  seenAt: readonly string[] = [],
): { readonly ok: false; readonly failure: ValidationFailure } => ({
  ok: false,
  failure: { type, detail, seenAt },
});

/** A failure for which this side was not allowed to look. */
export const forbiddenHere = (
  type: ValidationFailure['type'],
  detail: string,
): { readonly ok: false; readonly failure: ValidationFailure } => ({
  ok: false,
  failure: { type, detail, seenAt: [], forbiddenHere: true },
});

/** What a validated challenge was seen at, for the record. */
export interface Evidence {
  /** Addresses that were dialled, or names that were asked, in order. */
  readonly seenAt: readonly string[];
}
