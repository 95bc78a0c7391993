import { PkiError } from '../../common/errors/index.ts';
import {
  loggedObject,
  type LoggedValues,
  type LogObject,
  type LogObjectKind,
  type TakenPlace,
} from '../../domain/index.ts';
import type { LogGuard } from '../ports/index.ts';

/**
 * The guard for writes that share a transaction. A record of an earlier write in the open
 * transaction counts before the memory of the log knows it. `recorded`: the newest object of that
 * name among the records of the open transaction. `takenPlaces`: the places that they take.
 */
export function createTransactionGuard(
  guard: LogGuard,
  {
    recorded,
    takenPlaces,
  }: {
    readonly recorded: (kind: LogObjectKind, id: string) => LogObject | undefined;
    readonly takenPlaces: () => readonly TakenPlace[];
  },
): LogGuard {
  /** undefined: this transaction has no record of it. */
  const sameHere = <Kind extends LogObjectKind>(
    kind: Kind,
    id: string,
    row: LoggedValues[Kind] | undefined,
  ): boolean | undefined => {
    const ownRecord = recorded(kind, id);
    if (ownRecord === undefined) return undefined;
    return ownRecord.sha256 === (row === undefined ? '' : loggedObject(kind, row).sha256);
  };
  return {
    ...guard,
    requireRow: (kind, id, row) => {
      const same = sameHere(kind, id, row);
      if (same === undefined) return guard.requireRow(kind, id, row);
      if (!same)
        throw new PkiError(
          'OBJECT_NOT_IN_LOG',
          `the ${kind} ${id} differs from what this transaction has recorded`,
          { detail: { kind, id } },
        );
      return row;
    },
    placeEnds: (wanted) => [
      ...guard.placeEnds(wanted),
      ...takenPlaces().flatMap(({ counter, until }) => (counter === wanted ? [until] : [])),
    ],
    sameRow: (kind, id, row) => sameHere(kind, id, row) ?? guard.sameRow(kind, id, row),
  };
}
