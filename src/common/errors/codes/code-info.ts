/**
 * What is known of an error code. A code is stable: it may be added, never renamed or given another
 * meaning.
 *
 * - `status`: the gRPC status a caller sees (names of google.rpc.Code).
 * - `audience`: `caller` may be shown to whoever made the request; `operator` is shown to
 *   administrators and logs only, an outsider sees `INTERNAL` with a request ID in its place.
 * - `meaning`: what was wrong, in general; the message of an error says it of the case.
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
