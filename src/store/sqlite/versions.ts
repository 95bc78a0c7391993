import { PkiError } from '../../common/errors/index.ts';

/**
 * Compare-and-set inside a transaction. `present`: the row as the log vouches for it.
 *
 * @throws PkiError NOT_FOUND, CONFLICT
 */
export function requireVersionBefore<T extends { readonly version: number }>(
  next: { readonly version: number },
  present: T | undefined,
  what: string,
): T {
  if (present === undefined) throw new PkiError('NOT_FOUND', `there is no ${what}`);
  if (present.version !== next.version - 1)
    throw new PkiError('CONFLICT', `the ${what} was changed meanwhile`);
  return present;
}
