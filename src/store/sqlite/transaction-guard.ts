import { PkiError } from '../../common/errors/index.ts';
import {
  loggedObject,
  type LoggedValues,
  type LogObject,
  type LogObjectKind,
} from '../../domain/index.ts';
import type { LogGuard } from '../ports/index.ts';

/**
 * The guard for writes that share a transaction: what an earlier write of the open transaction has
 * put on record counts before the memory of the log knows of it. `recorded`: the newest object of
 * that name among the records of the open transaction.
 */
export function createTransactionGuard(
  guard: LogGuard,
  recorded: (kind: LogObjectKind, id: string) => LogObject | undefined,
): LogGuard {
  /** undefined: this transaction has no record of it. */
  const sameHere = <Kind extends LogObjectKind>(
    kind: Kind,
    id: string,
    found: LoggedValues[Kind] | undefined,
  ): boolean | undefined => {
    const own = recorded(kind, id);
    if (own === undefined) return undefined;
    return own.sha256 === (found === undefined ? '' : loggedObject(kind, found).sha256);
  };
  return {
    ...guard,
    requireRow: (kind, id, found) => {
      const same = sameHere(kind, id, found);
      if (same === undefined) return guard.requireRow(kind, id, found);
      if (!same)
        throw new PkiError(
          'OBJECT_NOT_IN_LOG',
          `the ${kind} ${id} is not as this transaction has recorded it`,
          { detail: { kind, id } },
        );
      return found;
    },
    sameRow: (kind, id, found) => sameHere(kind, id, found) ?? guard.sameRow(kind, id, found),
  };
}
