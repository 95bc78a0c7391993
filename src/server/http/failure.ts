import { PkiError, type ErrorCode, type StatusName } from '../../common/errors/index.ts';
import type { HttpAnswer, HttpFailure } from './plugin.ts';

const httpStatus: Readonly<Record<StatusName, number>> = {
  CANCELLED: 499,
  UNKNOWN: 500,
  INVALID_ARGUMENT: 400,
  DEADLINE_EXCEEDED: 503,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 429,
  FAILED_PRECONDITION: 503,
  ABORTED: 503,
  OUT_OF_RANGE: 400,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DATA_LOSS: 500,
  UNAUTHENTICATED: 401,
};

/** What an outsider may know of a handler's error. */
export function failureOf(thrown: unknown): HttpFailure {
  const error = PkiError.from(thrown);
  const shown =
    error.info.audience === 'caller' && error.code !== 'INTERNAL'
      ? error
      : new PkiError('INTERNAL', 'internal error');
  return {
    status: httpStatus[shown.info.status],
    code: shown.code,
    message: shown.message,
    next: shown.next,
  };
}

/** A failure that the front detects before a handler runs. */
export function failure(
  status: number,
  code: ErrorCode,
  message: string,
  more: Pick<HttpFailure, 'headers'> & { readonly next?: string } = {},
): HttpFailure {
  const { next } = new PkiError(code, message);
  return { status, code, message, next, ...more };
}

/**
 * The error form of meshca's own resources: code, message and next step, as JSON. A client of ACME
 * with a wrong directory prints `detail` alone (RFC 9457).
 */
export const jsonErrorForm = ({
  status,
  code,
  message,
  next,
  headers,
}: HttpFailure): HttpAnswer => ({
  status,
  headers: { 'content-type': 'application/json', ...headers },
  body: `${JSON.stringify({ code, message, next, detail: `${message}. ${next}`, status })}\n`,
});
