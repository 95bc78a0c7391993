import { PkiError } from '../common/errors/index.ts';

/** Exit codes for scripts. docs/cli.md lists them. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  refused: 4,
  unavailable: 5,
  conflict: 6,
  held: 7,
  /** After Ctrl-C or SIGTERM: 128 plus the number of SIGINT, as in shells. */
  interrupted: 130,
} as const;

export function exitCodeOf(error: PkiError): number {
  if (error.code === 'APPROVAL_REQUIRED') return exitCodes.held;
  switch (error.info.status) {
    case 'NOT_FOUND':
      return exitCodes.notFound;
    case 'PERMISSION_DENIED':
    case 'UNAUTHENTICATED':
      return exitCodes.refused;
    case 'UNAVAILABLE':
    case 'DEADLINE_EXCEEDED':
      return exitCodes.unavailable;
    case 'ALREADY_EXISTS':
    case 'ABORTED':
      return exitCodes.conflict;
    case 'INVALID_ARGUMENT':
      return exitCodes.usage;
    default:
      return exitCodes.failed;
  }
}
