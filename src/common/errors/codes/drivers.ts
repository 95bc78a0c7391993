import { operator, type CodeInfo } from './code-info.ts';

/** Codes of the drivers of file targets. */
export const driverCodes = {
  DRIVER_REFUSED: operator(
    'FAILED_PRECONDITION',
    'The server judged the new set of certificates and goes on with the old one.',
    'The message has what the server said. Correct the configuration of the server or of ' +
      'the target; the agent then delivers again.',
  ),
  DRIVER_FAILED: operator(
    'UNAVAILABLE',
    'The driver of a file target could not tell the server of its new set, or does not know ' +
      'what the server made of it.',
    'Correct what the message names in the settings of the driver or at the server; the agent then delivers again.',
  ),
  DRIVER_TIMEOUT: operator(
    'DEADLINE_EXCEEDED',
    'A step of the driver of a file target took longer than it may, and was ended.',
    'Find out why the server or the program does not answer. If the step needs longer, ' +
      'raise timeoutSeconds of the driver.',
  ),
  STAPLE_FAILED: operator(
    'UNAVAILABLE',
    'The program that gets the OCSP answer for a new set of certificates did not succeed. The ' +
      'server has the set, and may staple no answer, or that of the set before.',
    'Correct what the message names, then run the program by hand or wait for its next hour.',
  ),
} as const satisfies Record<string, CodeInfo>;
