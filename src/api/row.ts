import { PkiError } from '../common/errors/index.ts';
import type { MethodPath } from '../common/wire/index.ts';
import type { Caller, CallerClass, OperatorCaller } from '../services/callers/caller.ts';
import {
  admissions,
  type Admission,
  type DualControlRule,
  type OperationDependencies,
} from './operation.ts';
import { operationTable, serviceNames } from './table.ts';

/**
 * A row whose method is known only at run time. The request must fit the method, and the caller
 * must fit `admits`. The user of a row checks both before (`admit`, and the definition of the
 * messages).
 */
export interface Row {
  readonly path: MethodPath;
  readonly admits: Admission;
  readonly dualControl: DualControlRule<object>;
  readonly patienceSeconds?: number;
  readonly preview?: (
    dependencies: OperationDependencies,
    caller: OperatorCaller,
    request: object,
  ) => Promise<readonly string[]>;
  readonly run?: (
    dependencies: OperationDependencies,
    caller: Caller,
    request: object,
    signal: AbortSignal,
  ) => Promise<object>;
  readonly open?: (
    dependencies: OperationDependencies,
    caller: Caller,
    request: object,
    signal: AbortSignal,
  ) => Promise<AsyncIterable<object>>;
}

type StatedRow = Omit<Row, 'path' | 'dualControl'> & Partial<Pick<Row, 'dualControl'>>;

/** Every row by its path. Dual control concerns administration only; other rows never wait. */
export const rows: ReadonlyMap<string, Row> = new Map(
  serviceNames.flatMap((service) =>
    Object.entries(operationTable[service] as unknown as Readonly<Record<string, StatedRow>>).map(
      ([method, row]): [string, Row] => {
        const path = `/${service}/${method}` as MethodPath;
        return [path, { dualControl: 'never', ...row, path }];
      },
    ),
  ),
);

/** @throws PkiError NOT_IMPLEMENTED for a path without a row */
export function rowAt(path: string): Row {
  const row = rows.get(path);
  if (row === undefined)
    throw new PkiError('NOT_IMPLEMENTED', `${path} is not an operation of this release`);
  return row;
}

export const admittedClasses = ({ admits }: Pick<Row, 'admits'>): readonly CallerClass[] =>
  admissions[admits];

/** @throws PkiError CALLER_NOT_ADMITTED; UNAUTHENTICATED for a caller without an identity */
export function admit(
  path: string,
  classes: readonly CallerClass[],
  caller: Pick<Caller, 'class'>,
): void {
  if (classes.includes(caller.class)) return;
  throw new PkiError(
    caller.class === 'anonymous' ? 'UNAUTHENTICATED' : 'CALLER_NOT_ADMITTED',
    `${path} is not open to callers of class ${caller.class}; it admits: ${classes.join(', ')}`,
  );
}
