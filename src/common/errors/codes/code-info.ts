/**
 * The facts about an error code. A code is stable: it may be added, but never renamed or given
 * another meaning.
 *
 * - `status`: the gRPC status that a caller sees (names of google.rpc.Code).
 * - `audience`: a `caller` code may be shown to the caller. An `operator` code is shown only to
 *   administrators and in logs; others see `INTERNAL` with a request ID instead.
 * - `meaning`: what was wrong in general; the message of an error says it for the case.
 * - `next`: what the reader should do now.
 */
export interface CodeInfo {
  readonly status: StatusName;
  readonly audience: 'caller' | 'operator';
  readonly meaning: string;
  readonly next: string;
}

export type StatusName =
  | 'CANCELLED'
  | 'UNKNOWN'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'OUT_OF_RANGE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'DATA_LOSS'
  | 'UNAUTHENTICATED';

export const caller = (status: StatusName, meaning: string, next: string): CodeInfo => ({
  status,
  audience: 'caller',
  meaning,
  next,
});
export const operator = (status: StatusName, meaning: string, next: string): CodeInfo => ({
  status,
  audience: 'operator',
  meaning,
  next,
});
