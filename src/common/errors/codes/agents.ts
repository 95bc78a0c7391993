import { caller, operator, type CodeInfo } from './code-info.ts';

/** Codes of the agent, the client library and the demonstration. */
export const agentCodes = {
  // agent
  STATE_CORRUPT: operator(
    'DATA_LOSS',
    "A file in the agent's state directory is damaged.",
    'Move the file that the message names out of the state directory and attest again with ' +
      'a new join token or the node certificate.',
  ),
  STATE_LOCKED: operator(
    'FAILED_PRECONDITION',
    'Another agent uses the state directory.',
    'Stop the other agent, or give each agent a data directory of its own (dataDir): two ' +
      "would take each other's identity.",
  ),
  STATE_UNUSABLE: operator(
    'FAILED_PRECONDITION',
    'The agent can not use its state directory.',
    'Give the agent a state directory of its own that it may write, on a local file system.',
  ),
  BUNDLE_INVALID: caller(
    'INVALID_ARGUMENT',
    'The bytes are no trust bundle.',
    'Give a SPIFFE bundle document (JWKS) or the PEM certificates of the roots.',
  ),
  NODE_CREDENTIAL_MISSING: operator(
    'FAILED_PRECONDITION',
    'The agent has nothing to attest with.',
    'Configure a join token (meshca token create) or the certificate and key of the node: ' +
      'the agent has no identity yet.',
  ),

  // demonstration
  DEMO_RUNNING: operator(
    'FAILED_PRECONDITION',
    'Another demonstration uses the folder.',
    'Stop the other one with Ctrl-C in its terminal, or use another folder: MESHCA_HOME=/path npm start.',
  ),
  DEMO_HOME_GONE: operator(
    'FAILED_PRECONDITION',
    'The folder of the demonstration was deleted while it ran.',
    'Start it again: the folder is set up anew, with another trust. Everything that ran was ended.',
  ),
  DEMO_PART_FAILED: operator(
    'INTERNAL',
    'A process of the demonstration ended by itself.',
    'The lines above are the end of its log; the whole log is in the file that is named.',
  ),

  // client library
  ENDPOINT_INVALID: caller(
    'INVALID_ARGUMENT',
    'The address of the Workload API is malformed.',
    'Use unix:///absolute/path or tcp://IP:port, in SPIFFE_ENDPOINT_SOCKET or in the options.',
  ),
  PEER_CERTIFICATE_MISSING: caller(
    'UNAUTHENTICATED',
    'The other side presented no certificate.',
    'The other side must present an X.509-SVID in the TLS handshake.',
  ),
  PEER_NOT_AUTHORIZED: caller(
    'PERMISSION_DENIED',
    'The other side has a valid identity that is not admitted.',
    'The other side is who it claims to be, but not whom this side admits; correct the authorizer or the address.',
  ),
  SESSION_RESUMED: caller(
    'UNAUTHENTICATED',
    'The other side resumed an old TLS session.',
    'Connect with a full TLS handshake: a resumed session would skip the check of the certificate.',
  ),
  HANDSHAKE_FAILED: caller(
    'UNAVAILABLE',
    'The TLS handshake failed.',
    'Check that the other side speaks TLS 1.3 and presents an X.509-SVID; the message has ' +
      'the reason of the TLS library.',
  ),
  UNREACHABLE: caller(
    'UNAVAILABLE',
    'Nothing answers at the address.',
    'Check that the process runs and that the address or socket path is right.',
  ),
} as const satisfies Record<string, CodeInfo>;
