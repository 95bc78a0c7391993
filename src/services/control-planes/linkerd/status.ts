import { PkiError, type StatusName } from '../../../common/errors/index.ts';

/**
 * Linkerd's identity service answers FAILED_PRECONDITION where a token or a name is refused. Its
 * proxies and their operators know these statuses; the code in the trailers stays ours.
 */
const statuses: Partial<Readonly<Record<StatusName, StatusName>>> = {
  UNAUTHENTICATED: 'FAILED_PRECONDITION',
  PERMISSION_DENIED: 'FAILED_PRECONDITION',
};

/** The same error, with the status that a proxy of Linkerd expects. */
export function statusOfLinkerd(error: PkiError): PkiError {
  const answerStatus = statuses[error.info.status];
  if (answerStatus === undefined) return error;
  const { code, message, next, grade, detail } = error;
  return new PkiError(code, message, { cause: error, next, grade, detail, answerStatus });
}
