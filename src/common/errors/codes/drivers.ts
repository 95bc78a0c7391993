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
} as const satisfies Record<string, CodeInfo>;
