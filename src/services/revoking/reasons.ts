import { PkiError } from '../../common/errors/index.ts';
import { revocationReasons, type RevocationReason } from '../../domain/index.ts';

/** Empty: unspecified. @throws PkiError INVALID_REQUEST */
export function revocationReasonOf(text: string): RevocationReason {
  if (text === '') return 'unspecified';
  const reason = revocationReasons.find((candidate) => candidate === text);
  if (reason === undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      `the reason ${JSON.stringify(text.slice(0, 40))} is not one of ${revocationReasons.join(', ')}`,
    );
  return reason;
}
