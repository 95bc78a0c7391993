import { caller, type CodeInfo } from './code-info.ts';

/** Codes of any request. */
export const requestCodes = {
  // general
  INTERNAL: caller(
    'INTERNAL',
    'Something failed that has no code of its own.',
    'Retry; if it persists give the request ID to the operator of the CA, who finds the cause in the server log.',
  ),
  INVALID_REQUEST: caller(
    'INVALID_ARGUMENT',
    'A field of the request is missing, malformed or out of range.',
    'Correct the field that the message names and send the request again.',
  ),
  REQUEST_TOO_LARGE: caller(
    'RESOURCE_EXHAUSTED',
    'The request, or a part of it, is larger than its limit.',
    'Split the request: the message names the limit.',
  ),
  RATE_LIMITED: caller(
    'RESOURCE_EXHAUSTED',
    'The caller has used up what it may ask for in this time.',
    'Wait for the time that the message names, then retry; ask the operator to raise the ' +
      'limit if this load is intended.',
  ),
  STREAM_CREDIT_EXCEEDED: caller(
    'RESOURCE_EXHAUSTED',
    'More was sent on the stream than the server gave credits for.',
    'Open the stream again and send one request for each credit: the credits of the messages from the server add up.',
  ),
  WATCH_SUPERSEDED: caller(
    'ABORTED',
    'Another stream watches the bundle under the same name.',
    'Give each process of the control plane a name of its own (instance). If a process ' +
      'opened the second stream itself, it goes on with that one.',
  ),
  OVERLOADED: caller(
    'UNAVAILABLE',
    'A limit on work at once is reached.',
    'Retry with backoff; the server is at one of its concurrency limits.',
  ),
  DEADLINE_EXCEEDED: caller(
    'DEADLINE_EXCEEDED',
    'The call took longer than it may.',
    'Retry; the server gave up on this call after its maximum duration.',
  ),
  CANCELLED: caller(
    'CANCELLED',
    'The caller ended the call before it was answered.',
    'The caller itself ended the call. Call again if the answer is still wanted.',
  ),
  SHUTTING_DOWN: caller(
    'UNAVAILABLE',
    'The process is stopping and takes no new calls.',
    'Reconnect: the process is shutting down.',
  ),
  STARTING_UP: caller(
    'UNAVAILABLE',
    'The process has started and can not answer yet.',
    'Retry in a moment: the process is starting up.',
  ),
  NOT_IMPLEMENTED: caller(
    'UNIMPLEMENTED',
    'The method is part of the contract, and this release does not offer it.',
    'This release does not offer the method; see CHANGELOG.md.',
  ),
  NOT_FOUND: caller(
    'NOT_FOUND',
    'No object has this ID.',
    'List the objects of this kind and check the ID.',
  ),
  ALREADY_EXISTS: caller(
    'ALREADY_EXISTS',
    'An object with this ID or name is there.',
    'Update the existing object, or choose another name.',
  ),
  CONFLICT: caller(
    'ABORTED',
    'The object was changed since the caller read it, or another change of it is under way.',
    'Read the object again and repeat the change on its present version.',
  ),
  OUTPUT_FAILED: caller(
    'FAILED_PRECONDITION',
    'The command could not write its result.',
    'Make room on the disk that the message names, or name a file elsewhere, and run the command again.',
  ),
} as const satisfies Record<string, CodeInfo>;
