import { Metadata, status, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { codes, isErrorCode, PkiError, type ErrorCode } from '../errors/index.ts';

/** Trailers for what a gRPC status can't express. */
export const codeTrailer = 'meshca-code';
const nextTrailer = 'meshca-next';
export const requestIdKey = 'meshca-request-id';
/** The trailer with what the caller of an act must know beside its answer. */
export const noteKey = 'meshca-note';
export const refusalIdTrailer = 'meshca-refusal-id';
/** The operation that now waits for approval. */
const operationIdTrailer = 'meshca-operation-id';

/**
 * The part of an error that an outsider may see. Codes for operators become INTERNAL (or their
 * availability class) without text.
 */
export function outsideView(error: PkiError): {
  readonly code: ErrorCode;
  readonly message: string;
  readonly next: string;
} {
  if (error.info.audience === 'caller')
    return { code: error.code, message: error.message, next: error.next };
  const code: ErrorCode = error.info.status === 'UNAVAILABLE' ? 'HSM_UNAVAILABLE' : 'INTERNAL';
  return { code, message: 'the server could not complete the request', next: codes[code].next };
}

/**
 * The gRPC status of an error, with its code and advice in the trailers. `full` shows codes for
 * operators (administrators only).
 */
export function toStatus(
  thrown: unknown,
  options: {
    readonly requestId?: string;
    readonly refusalId?: string;
    readonly full?: boolean;
  } = {},
): Partial<StatusObject> & { code: status; details: string; metadata: Metadata } {
  const error = PkiError.from(thrown);
  const view = options.full
    ? { code: error.code, message: error.message, next: error.next }
    : outsideView(error);
  const metadata = new Metadata();
  metadata.set(codeTrailer, view.code);
  metadata.set(nextTrailer, asciiOnly(view.next));
  if (options.requestId !== undefined) metadata.set(requestIdKey, options.requestId);
  if (options.refusalId !== undefined) metadata.set(refusalIdTrailer, options.refusalId);
  const operationId = error.detail['operationId'];
  if (typeof operationId === 'string') metadata.set(operationIdTrailer, operationId);
  const name =
    (view.code === error.code ? error.answerStatus : undefined) ?? codes[view.code].status;
  return { code: status[name], details: view.message, metadata };
}

/**
 * The PkiError of a peer's status. A status without our trailer becomes UNREACHABLE,
 * DEADLINE_EXCEEDED, CANCELLED or INTERNAL.
 */
export function fromServiceError(error: ServiceError): PkiError {
  const text = error.metadata?.get(codeTrailer)[0];
  const next = error.metadata?.get(nextTrailer)[0];
  const requestId = error.metadata?.get(requestIdKey)[0];
  const refusalId = error.metadata?.get(refusalIdTrailer)[0];
  const detail: Record<string, string> = {};
  if (typeof requestId === 'string') detail['requestId'] = requestId;
  if (typeof refusalId === 'string') detail['refusalId'] = refusalId;
  const operationId = error.metadata?.get(operationIdTrailer)[0];
  if (typeof operationId === 'string') detail['operationId'] = operationId;
  const code = typeof text === 'string' && isErrorCode(text) ? text : bareCode(error.code);
  return new PkiError(code, error.details || error.message, {
    cause: error,
    detail,
    ...(typeof next === 'string' ? { next } : {}),
  });
}

function bareCode(code: status): ErrorCode {
  switch (code) {
    case status.UNAVAILABLE:
      return 'UNREACHABLE';
    case status.DEADLINE_EXCEEDED:
      return 'DEADLINE_EXCEEDED';
    case status.CANCELLED:
      return 'CANCELLED';
    case status.UNIMPLEMENTED:
      return 'NOT_IMPLEMENTED';
    case status.RESOURCE_EXHAUSTED:
      return 'REQUEST_TOO_LARGE';
    case status.UNAUTHENTICATED:
      return 'UNAUTHENTICATED';
    case status.PERMISSION_DENIED:
      return 'CALLER_NOT_ADMITTED';
    case status.NOT_FOUND:
      return 'NOT_FOUND';
    case status.INVALID_ARGUMENT:
      return 'INVALID_REQUEST';
    default:
      return 'INTERNAL';
  }
}

const asciiOnly = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?');
