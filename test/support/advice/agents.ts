import { done, row, type AdviceRow } from './row.ts';
import type { agentCodes } from '../../../src/common/errors/codes/agents.ts';

const run = 'integration/sidecar/run.test.ts';
const badStart = 'a start that can not succeed ends with its code and advice';
const whole =
  'a workload gets its SVID through the whole agent, renewed in time; operators see status and metrics';
const tls = 'integration/workload/tls.test.ts';
const known = 'two workloads of one trust domain, and of federated ones, know each other by ID';
const source = 'integration/workload/source.test.ts';
const demo = 'integration/demo/demo.test.ts';

export const agentAdvice = {
  STATE_CORRUPT: row(
    'the SVID of the agent is emptied, cut, or has another key',
    [
      'integration/sidecar/sync/session-state.test.ts',
      'damaged or foreign state is refused with its file named, and an open key file too',
    ],
    done('moves the file away and attests again', 'the agent is connected', [
      'integration/sidecar/advice.test.ts',
      'an agent whose SVID file is damaged is connected again once the file is moved and a new token given',
    ]),
  ),
  STATE_LOCKED: row(
    'a second agent starts on one directory',
    [
      'integration/sidecar/state/directory-lock.test.ts',
      'a second agent on a data directory ends with code and advice, and starts after the first ended',
    ],
    done('stops the first', 'the second starts'),
  ),
  STATE_UNUSABLE: row(
    'the data directory is full, read-only or gone',
    [
      'integration/sidecar/data-directory.test.ts',
      'an agent whose data directory is ${name} serves from memory, says so, and writes it later',
    ],
    done('makes the directory usable again', 'the state is written'),
  ),
  BUNDLE_INVALID: row(
    'bootstrap.bundlePath names a file that is not there',
    [run, badStart],
    done('names the bundle', 'the agent starts', [run, whole]),
  ),
  NODE_CREDENTIAL_MISSING: row(
    'an agent starts without join token and node certificate',
    [run, badStart],
    done('gives a join token', 'the agent joins', [run, whole]),
  ),
  DEMO_RUNNING: row(
    'a second demonstration starts in one folder',
    [
      demo,
      'a second demo in one folder is refused, a dead server is restarted, and Ctrl-C ends all with 0',
    ],
    done('ends the first with Ctrl-C', 'all its parts end'),
  ),
  DEMO_HOME_GONE: row(
    'the folder is deleted while the demonstration runs',
    [
      demo,
      'a demo whose folder is deleted ends all its parts, says why, and leaves a newer demo alone',
    ],
    done('starts it again', 'it runs in a new folder'),
  ),
  DEMO_PART_FAILED: row(
    'the server of the demonstration ends with an error',
    [demo, 'a part that fails ends the demonstration with the code from its log'],
    done('reads the end of the log', 'it has the code of the part'),
  ),
  ENDPOINT_INVALID: row(
    'the address is a relative path, or given twice',
    [source, 'connect gives up when nobody listens, and at once when it is aborted'],
    done('gives an absolute address', 'the SVID comes', [
      source,
      'connect resolves with the first identity, its key and all bundles',
    ]),
  ),
  PEER_CERTIFICATE_MISSING: row(
    'a client connects without certificate',
    [tls, 'a client without certificate and one with TLS 1.2 are refused'],
    done('connects with its SVID', 'the connection stands', [tls, known]),
  ),
  PEER_NOT_AUTHORIZED: row(
    'a client expects another ID',
    [
      'integration/workload/rotation.test.ts',
      'an HTTPS request to a server with another ID fails with the reason',
    ],
    done('expects the right one', 'the connection stands', [tls, known]),
  ),
  SESSION_RESUMED: row(
    'a client asks for a session to resume',
    [tls, 'a client is not given a way to resume a session'],
    done('connects without', 'the connection stands', [tls, known]),
  ),
  HANDSHAKE_FAILED: row(
    'a client has TLS 1.2',
    [tls, 'a client without certificate and one with TLS 1.2 are refused'],
    done('uses TLS 1.3', 'the connection stands', [tls, known]),
  ),
  UNREACHABLE: row(
    'nobody listens at the socket',
    [source, 'connect gives up when nobody listens, and at once when it is aborted'],
    done('starts the agent', 'the SVID comes', [
      source,
      'when the agent is away the identity stays, and after its return updates go on',
    ]),
  ),
} as const satisfies Record<keyof typeof agentCodes, AdviceRow>;
