import { operator, type CodeInfo } from './code-info.ts';

/** Codes of handshakes that the agent makes to see what a server presents. */
export const probeCodes = {
  PROBE_FAILED: operator(
    'UNAVAILABLE',
    'A handshake at a listener showed no certificate.',
    'Check that the server runs, and that address, protocol and server name of the listener ' +
      'are right: the message has the step that failed.',
  ),
  PROOF_MISSING: operator(
    'FAILED_PRECONDITION',
    'A listener did not show the new certificate in time.',
    'The message has what each listener shows. If nothing answers, start the server, or correct ' +
      'the address of the listener. If it is the certificate before, check that ' +
      'the server reads the files below current/ and that the driver reloads it; its log may ' +
      'have the reason. If it is another one, correct the address or the server name of the ' +
      'listener.',
  ),
} as const satisfies Record<string, CodeInfo>;
