import { PkiError, type ErrorCode } from '../errors/index.ts';

export interface ErrorFields {
  readonly code: ErrorCode;
  readonly error: string;
  /** What led to it, where that says more. */
  readonly cause?: string;
  /** Of a defect: an error without a code of ours. */
  readonly stack?: string;
}

/**
 * The fields under which every error is logged: its stable code, and what was wrong. Where in our
 * code a refusal or an outage came up helps nobody who reads the log: only a defect has its stack.
 */
export function errorFields(thrown: unknown): ErrorFields {
  const { code, message, cause } = PkiError.from(thrown);
  const fields = { code, error: message };
  if (!(cause instanceof Error)) return fields;
  if (code === 'INTERNAL' && cause.stack !== undefined) return { ...fields, stack: cause.stack };
  return cause.message === message ? fields : { ...fields, cause: cause.message };
}
