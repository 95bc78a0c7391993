import type { ServiceError } from '@grpc/grpc-js';
import { PkiError } from '../common/errors/index.ts';
import { codeTrailer } from '../common/wire/index.ts';

const brokeOff =
  'Check that the process runs. A change that was sent before may be on record: look with ' +
  '"meshca audit list --acts" or "meshca authority status" before you give the command ' +
  'again.';

/** Replaces the text of gRPC about a server that does not answer. */
export function unreachable(error: PkiError, shown: string): PkiError {
  if (isAnswer(error)) return error;
  if (error.code === 'DEADLINE_EXCEEDED')
    return new PkiError('UNREACHABLE', `${shown} does not answer`, {
      cause: error,
      next:
        'Check that the process there runs, and that it is not stopped or overloaded. The ' +
        'server may still make a change that was sent: meshca audit list --acts.',
    });
  if (error.code === 'INTERNAL')
    return new PkiError(
      'UNREACHABLE',
      `the process at ${shown} is not meshca, or it ended the connection`,
      {
        cause: error,
        next: brokeOff,
      },
    );
  if (error.code === 'NOT_IMPLEMENTED')
    return new PkiError('NOT_IMPLEMENTED', `${shown} does not know this call`, { cause: error });
  if (error.code !== 'UNREACHABLE') return error;
  if (error.message.includes('EACCES'))
    return new PkiError(
      'CALLER_NOT_ADMITTED',
      `this user has no permission to connect to ${shown}`,
      {
        cause: error,
        next: 'Run the command as root, as the user of the server or agent, or as a user whom its configuration names.',
      },
    );
  if (error.message.includes('certificate')) return untrusted(error, shown);
  const reason = error.message.includes('Name resolution failed')
    ? 'its name can not be resolved'
    : /ENOENT|ECONNREFUSED|EACCES|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/.exec(
        error.message,
      )?.[0];
  const why = reason === undefined ? '' : ` (${reason})`;
  return new PkiError('UNREACHABLE', `nothing answers at ${shown}${why}`, {
    cause: error,
    ...(reason === 'ECONNRESET' ? { next: brokeOff } : {}),
  });
}

/** Whether the server itself sent this error: its errors have a code beside the status of gRPC. */
function isAnswer({ cause }: PkiError): boolean {
  const { metadata } = (cause ?? {}) as Partial<ServiceError>;
  return metadata !== undefined && metadata.get(codeTrailer).length > 0;
}

function untrusted(error: PkiError, shown: string): PkiError {
  const untimely = /certificate (has expired|is not yet valid)/.exec(error.message)?.[1];
  if (untimely !== undefined)
    return new PkiError(
      'CHAIN_UNTRUSTED',
      `${shown} is not trusted: by the clock of this machine its certificate ${untimely}`,
      {
        cause: error,
        next:
          'Compare the clocks of this machine and of the server (date -u on both), and ' +
          'correct the wrong one. If both are right, "meshca status" on the server says why ' +
          'its certificate is not renewed.',
      },
    );
  return new PkiError(
    'CHAIN_UNTRUSTED',
    `${shown} is not trusted: its certificate does not lead to a root of the bundle`,
    {
      cause: error,
      next:
        'Check that the address is the address of the CA, and that the bundle is its ' +
        'present bundle ("meshca bundle show" on its machine).',
    },
  );
}
