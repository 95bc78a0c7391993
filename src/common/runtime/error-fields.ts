import { PkiError, type ErrorCode } from '../errors/index.ts';

export interface ErrorFields {
  readonly code: ErrorCode;
  readonly error: string;
  /** The cause, if it says more. */
  readonly cause?: string;
  /** The stack of a defect: an error without a code of ours. */
  readonly stack?: string;
}

/**
 * The fields of an error in the log: its stable code, and what was wrong. Only a defect has its
 * stack. For a refusal or an outage, the place in our code does not help a reader of the log.
 */
export function errorFields(thrown: unknown): ErrorFields {
  const { code, message, cause } = PkiError.from(thrown);
  const fields = { code, error: message };
  if (!(cause instanceof Error)) return fields;
  if (code === 'INTERNAL' && cause.stack !== undefined) return { ...fields, stack: cause.stack };
  return cause.message === message ? fields : { ...fields, cause: cause.message };
}
