import type { ServiceError } from '@grpc/grpc-js';
import { PkiError } from '../common/errors/index.ts';
import { codeTrailer } from '../common/wire/index.ts';

/** Replaces gRPC's own text about a server that does not answer. */
export function unreachable(error: PkiError, shown: string): PkiError {
  if (isAnswer(error)) return error;
  if (error.code === 'DEADLINE_EXCEEDED')
    return new PkiError('UNREACHABLE', `${shown} does not answer`, {
      cause: error,
      next: 'Check that the process there runs and is not stopped or overloaded. A change that was sent may still be carried out: meshca audit list --acts.',
    });
  if (error.code === 'INTERNAL')
    return new PkiError('UNREACHABLE', `what answers at ${shown} is no meshca, or it broke off`, {
      cause: error,
    });
  if (error.code === 'NOT_IMPLEMENTED')
    return new PkiError('NOT_IMPLEMENTED', `${shown} does not know this call`, { cause: error });
  if (error.code !== 'UNREACHABLE') return error;
  if (error.message.includes('EACCES'))
    return new PkiError(
      'CALLER_NOT_ADMITTED',
      `this user has no permission to connect to ${shown}`,
      {
        cause: error,
        next: 'Call it as root, as the user of the server or agent, or as a user whom its configuration names.',
      },
    );
  const untimely = /certificate (has expired|is not yet valid)/.exec(error.message)?.[1];
  if (untimely !== undefined)
    return new PkiError(
      'CHAIN_UNTRUSTED',
      `${shown} is not trusted: by the clock of this machine its certificate ${untimely}`,
      {
        cause: error,
        next: 'Compare the clocks of this machine and of the server (date -u on both), and set the wrong one right. If both are right, "meshca status" on the server tells why its certificate is not renewed.',
      },
    );
  if (error.message.includes('certificate')) {
    return new PkiError(
      'CHAIN_UNTRUSTED',
      `${shown} is not trusted: its certificate does not lead to a root of the bundle`,
      {
        cause: error,
        next: 'Check that the address is that of the CA and the bundle is its present one ("meshca bundle show" on its machine).',
      },
    );
  }
  const reason = error.message.includes('Name resolution failed')
    ? 'its name can not be resolved'
    : /ENOENT|ECONNREFUSED|EACCES|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/.exec(
        error.message,
      )?.[0];
  const why = reason === undefined ? '' : ` (${reason})`;
  return new PkiError('UNREACHABLE', `nothing answers at ${shown}${why}`, { cause: error });
}

/** Whether the server itself says this: its errors carry their code beside the status of gRPC. */
function isAnswer({ cause }: PkiError): boolean {
  const { metadata } = (cause ?? {}) as Partial<ServiceError>;
  return metadata !== undefined && metadata.get(codeTrailer).length > 0;
}
