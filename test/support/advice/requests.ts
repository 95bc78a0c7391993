import { cannot, done, row, type AdviceRow } from './row.ts';
import type { requestCodes } from '../../../src/common/errors/codes/requests.ts';

const services = 'unit/services/advice.test.ts';
const twice =
  'a name that is taken, an ID that is not there, and an old version are mended by their advice';
const streams = 'integration/server/grpc/sign-stream.test.ts';
const watching = 'integration/server/grpc/watch-bundle.test.ts';
const guard = 'unit/server/grpc/guard.test.ts';

export const requestAdvice = {
  INTERNAL: row(
    'an error without a code is logged and answered',
    ['unit/common/runtime/error-fields.test.ts', 'a defect is logged as INTERNAL with its stack'],
    cannot(
      'Its cause is a defect that nobody knows yet. That the request ID leads to the log line is tested.',
    ),
  ),
  INVALID_REQUEST: row(
    'an entry has a hint of two lines',
    [services, 'an entry that was refused is taken once it is corrected as the advice says'],
    done('corrects the field that the message names', 'the entry is created'),
  ),
  REQUEST_TOO_LARGE: row(
    'an agent asks for 501 certificates in one call',
    [
      services,
      'an agent without an entry, and one that asks for too much, get their SVIDs by the advice',
    ],
    done('asks for fewer in one call', 'the certificates are signed'),
  ),
  RATE_LIMITED: row(
    'an agent asks for more than its rate',
    [
      services,
      'an agent without an entry, and one that asks for too much, get their SVIDs by the advice',
    ],
    done('waits for a second', 'the certificate is signed'),
  ),
  STREAM_CREDIT_EXCEEDED: row(
    'a control plane sends more requests than it has credits for',
    [
      streams,
      'a request without a credit ends the stream with its code, and the credits are enough for all',
    ],
    done('opens the stream again and keeps to the credits', 'all requests are signed'),
  ),
  WATCH_SUPERSEDED: row(
    'two streams of one control plane have the same name',
    [watching, 'a second stream of one process ends the first, and another process has its own'],
    done('takes a name of its own', 'both streams stay open'),
  ),
  OVERLOADED: row(
    'calls of guests hold all places',
    [
      'unit/server/grpc/connections.test.ts',
      'calls of guests are bounded by connection, address and in all; those of agents are not',
    ],
    done('calls again when one of the calls has ended', 'the call runs'),
  ),
  DEADLINE_EXCEEDED: row(
    'a call runs longer than 30 s by an injected clock',
    [guard, 'that takes too long is answered once, and what passes afterwards does not run'],
    cannot('Whether a repetition is faster depends on what held up the first one.'),
  ),
  CANCELLED: row(
    'a caller goes away before its transaction begins',
    [
      'integration/store/engine.test.ts',
      'a write whose caller goes away before its transaction begins does not begin, and disturbs none',
    ],
    cannot('Nothing is to be done: the caller ended the call.'),
  ),
  SHUTTING_DOWN: row(
    'an agent drains while streams are open',
    [
      'integration/sidecar/apis/workload/x509-streams.test.ts',
      'draining tells open streams that the agent shuts down, removes the socket and frees everything',
    ],
    done('connects again to the agent that starts next', 'the workload gets its SVID again', [
      'integration/workload/source.test.ts',
      'when the agent is away the identity stays, and after its return updates go on',
    ]),
  ),
  STARTING_UP: row(
    'a workload asks before the agent has a bundle',
    [
      'integration/sidecar/apis/workload/x509-streams.test.ts',
      'before the entries or the bundle are there the answer is Unavailable',
    ],
    done('asks again once the gate is open', 'the work runs', [
      'unit/compose/signing-gate.test.ts',
      'is closed until the log has judged, with the code STARTING_UP, but for the first authorities',
    ]),
  ),
  NOT_IMPLEMENTED: row(
    'an operation names a method that is not there',
    [
      'unit/api/operations.test.ts',
      'does not run as a method that does not exist or that gives many answers',
    ],
    cannot('Another release offers the method, and only this one is here.'),
  ),
  NOT_FOUND: row(
    'an entry is asked for by a wrong ID',
    [services, twice],
    done('lists the entries and takes the ID from the list', 'the entry is shown'),
  ),
  ALREADY_EXISTS: row(
    'an entry is created under the name of another',
    [services, twice],
    done('updates the existing entry', 'the entry is changed'),
  ),
  CONFLICT: row(
    'an entry is updated on an old version',
    [services, twice],
    done('reads the entry again and repeats the change', 'the entry is changed'),
  ),
  OUTPUT_FAILED: row(
    'a command writes more than the disk takes',
    [
      'integration/cli/files.test.ts',
      'a stream that does not fit the disk is an error and leaves no part',
    ],
    done('writes to a place with room', 'the file is whole', [
      'integration/cli/files.test.ts',
      'a stream leaves a whole, closed file or nothing, and replaces no file',
    ]),
  ),
} as const satisfies Record<keyof typeof requestCodes, AdviceRow>;
